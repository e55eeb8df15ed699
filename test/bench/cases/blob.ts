/** A cached blob: throughput, and what a gigabyte costs the server. */
import type { Case, Lab } from "../lab.ts";
import { drain } from "../load/download.ts";
import { cpuSeconds, processesAt } from "../processes.ts";
import { judge, type Row } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";
import type { Server } from "../servers/server.ts";

interface Found {
  readonly gigabytesPerSecond: number;
  readonly cpuPerGigabyte: number;
}

/** Two nodes that pull an image, each three layers at a time as containerd does by default; and one download by itself. */
const loads = [
  { connections: 6, name: "six at once" },
  { connections: 1, name: "one alone" },
] as const;

type Load = (typeof loads)[number];

export const cachedBlob: Case = { name: "blob", run };

async function run(lab: Lab): Promise<Row[]> {
  await using hubcap = await lab.startFullHubcap();
  await using registry = await lab.startFilledRegistry();
  await using nginx = await lab.startNginx(hubcap.fileOf(lab.shop.blob.digest));
  const servers = { hubcap, registry, nginx };
  const rows: Row[] = [];
  for (const load of loads) rows.push(...(await compare(load, servers, lab)));
  return rows;
}

async function compare(
  load: Load,
  { hubcap, registry, nginx }: { hubcap: Server; registry: Server; nginx: Server },
  lab: Lab,
): Promise<Row[]> {
  const servers = [hubcap, registry, nginx];
  for (const server of servers) await measure(server, load, lab);
  const found = await alternate<Server, Found>(servers, lab.quick ? 2 : 5, (server) =>
    measure(server, load, lab),
  );
  const what = `cached blob, ${lab.blobSize}, ${load.name}`;
  const series = (server: Server, figure: keyof Found) => seriesOf(server.name, found.get(server), figure);
  const throughput = (beside: Server, bound: number): Row =>
    judge({
      what: `${what}: throughput`,
      unit: "GB/s",
      hubcap: series(hubcap, "gigabytesPerSecond"),
      beside: series(beside, "gigabytesPerSecond"),
      demand: { of: "ratio", sense: "at least", bound },
    });
  const cost = (beside: Server, bound: number): Row =>
    judge({
      what: `${what}: server CPU`,
      unit: "CPU-s/GB",
      hubcap: series(hubcap, "cpuPerGigabyte"),
      beside: series(beside, "cpuPerGigabyte"),
      demand: { of: "ratio", sense: "at most", bound },
    });
  return [throughput(registry, 1.5), throughput(nginx, 1), cost(nginx, 1.1), cost(registry, 0.7)];
}

async function measure({ url }: Server, { connections }: Load, { shop, quick }: Lab): Promise<Found> {
  const processes = processesAt(url);
  const times = quick ? 6 : 18;
  const before = cpuSeconds(processes);
  const seconds = await drain(url, shop.blob, { times: times / connections, connections });
  const gigabytes = (times * shop.blob.bytes.length) / 1e9;
  return {
    gigabytesPerSecond: gigabytes / seconds,
    cpuPerGigabyte: (cpuSeconds(processes) - before) / gigabytes,
  };
}
