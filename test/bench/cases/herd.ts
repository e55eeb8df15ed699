/** A hundred clients that ask for the same cold blob at once. */
import { caches, type CacheName, type Case, type Lab } from "../lab.ts";
import { download } from "../load/download.ts";
import { forgetPeak, processesAt, residentBytes } from "../processes.ts";
import { judge, type Demand, type Row, type Series, type Unit } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";

const clients = 100;

interface Found {
  readonly upstreamGets: number;
  readonly failures: number;
  readonly growth: number;
  readonly seconds: number;
}

export const herd: Case = { name: "herd", run };

async function run(lab: Lab): Promise<Row[]> {
  const found = await alternate<CacheName, Found>(caches, lab.quick ? 1 : 3, (name) => measure(name, lab));
  const series = (name: CacheName, figure: keyof Found): Series => {
    const { rounds } = seriesOf(name, found.get(name), figure);
    // What must never happen is not a matter of the median.
    const isCount = figure === "upstreamGets" || figure === "failures";
    return { server: name, rounds: isCount ? [Math.max(...rounds)] : rounds };
  };
  const row = (figure: keyof Found, what: string, unit: Unit, of: Demand["of"], bound: number): Row =>
    judge({
      what: `${clients} clients, one cold blob, ${lab.blobSize}: ${what}`,
      unit,
      hubcap: series("Hubcap", figure),
      beside: series("docker-registry", figure),
      demand: { of, sense: "at most", bound },
    });
  return [
    row("upstreamGets", "most upstream GETs", "", "figure", 1),
    row("failures", "most clients without all the right bytes", "", "figure", 0),
    row("growth", "RSS growth", "MB", "figure", 150),
    row("seconds", "total", "s", "ratio", 0.5),
  ];
}

async function measure(name: CacheName, lab: Lab): Promise<Found> {
  await using server = await lab.startCache(name);
  await lab.hub.order("reset", {});
  const processes = processesAt(server.url);
  forgetPeak(processes);
  const before = residentBytes(processes).now;
  const started = performance.now();
  const downloads = await Promise.allSettled(
    Array.from({ length: clients }, () => download(server.url, lab.shop.blob)),
  );
  const seconds = (performance.now() - started) / 1000;
  const { blobGets } = await lab.hub.order("counts", {});
  return {
    upstreamGets: blobGets.total,
    failures: downloads.filter(({ status }) => status === "rejected").length,
    growth: (residentBytes(processes).peak - before) / 1e6,
    seconds,
  };
}
