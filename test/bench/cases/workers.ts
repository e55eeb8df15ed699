/**
 * Hits on two cores against hits on one. On two cores the load is in the way: it has a core to itself beside one process, and
 * shares both with two. So what is judged is what the servers' own CPU time brings, which is theirs whoever else runs.
 */
import type { Case, Lab } from "../lab.ts";
import { drain } from "../load/download.ts";
import { getsPerSecond } from "../load/wrk.ts";
import { cpuSeconds, processesAt } from "../processes.ts";
import { judge, type Row, type Unit } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";
import type { Server } from "../servers/server.ts";

const connections = 32;

/** Blobs that are downloaded at once. */
const downloads = 4;

interface Found {
  readonly manifests: number;
  readonly blobs: number;
  /** The same, if each process had a core to itself for all of the time. */
  readonly manifestsByCpu: number;
  readonly blobsByCpu: number;
}

export const workers: Case = { name: "workers", run };

async function run(lab: Lab): Promise<Row[]> {
  await using one = await lab.startFullHubcap();
  await using two = await lab.startFullHubcap(2);
  for (const server of [one, two]) await measure(server, lab, 2);
  const found = await alternate<Server, Found>([one, two], lab.quick ? 2 : 5, (server) =>
    measure(server, lab, lab.quick ? 2 : 5),
  );
  const row = (what: string, unit: Unit, figure: keyof Found, bound: number): Row =>
    judge({
      what: `two processes beside one: ${what}`,
      unit,
      hubcap: seriesOf("two", found.get(two), figure),
      beside: seriesOf("one", found.get(one), figure),
      demand: { of: "ratio", sense: "at least", bound },
    });
  return [
    row("cached manifest, by the servers' CPU", "1/s", "manifestsByCpu", 1.7),
    row("cached blob, by the servers' CPU", "GB/s", "blobsByCpu", 1.7),
    row("cached manifest, the load on the same cores", "1/s", "manifests", 1),
    row("cached blob, the load on the same cores", "GB/s", "blobs", 1),
  ];
}

async function measure({ url }: Server, { shop, quick }: Lab, seconds: number): Promise<Found> {
  const processes = processesAt(url);
  const idle = cpuSeconds(processes);
  const manifests = await getsPerSecond(url + shop.manifest.path, connections, seconds);
  const between = cpuSeconds(processes);
  const times = quick ? 4 : 8;
  const blobSeconds = await drain(url, shop.blob, { times, connections: downloads });
  const gigabytes = (downloads * times * shop.blob.bytes.length) / 1e9;
  return {
    manifests,
    blobs: gigabytes / blobSeconds,
    manifestsByCpu: (processes.length * manifests * seconds) / (between - idle),
    blobsByCpu: (processes.length * gigabytes) / (cpuSeconds(processes) - between),
  };
}
