/**
 * Hits on two cores against hits on one. The load needs cores as well, so each process shares its core with a load of its own:
 * what two of both bring on two cores is judged by what one of both brings on one.
 */
import type { Case, Lab } from "../lab.ts";
import { getMany, type Throughput } from "../load/wrk.ts";
import { processesAt } from "../processes.ts";
import { judge, type Row, type Unit } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";
import type { Server } from "../servers/server.ts";

/** Connections for each process, which the system spreads over all: for manifests, and for downloads of the blob. */
const connections = { manifests: 32, blobs: 4 };

interface Found {
  readonly manifests: number;
  readonly blobs: number;
}

export const workers: Case = { name: "workers", run };

async function run(lab: Lab): Promise<Row[]> {
  await using one = await lab.startFullHubcap();
  await using two = await lab.startFullHubcap(2);
  for (const server of [one, two]) await measure(server, lab, 2);
  const found = await alternate<Server, Found>([one, two], lab.quick ? 2 : 5, (server) =>
    measure(server, lab, lab.quick ? 2 : 5),
  );
  const row = (what: string, unit: Unit, figure: keyof Found): Row =>
    judge({
      what: `two processes beside one: ${what}`,
      unit,
      hubcap: seriesOf("two", found.get(two), figure),
      beside: seriesOf("one", found.get(one), figure),
      demand: { of: "ratio", sense: "at least", bound: 1.7 },
    });
  return [row("cached manifest", "1/s", "manifests"), row("cached blob", "GB/s", "blobs")];
}

async function measure({ url }: Server, { shop, machine }: Lab, seconds: number): Promise<Found> {
  const { length } = processesAt(url);
  const load = async (path: string, each: number, what: keyof Throughput): Promise<number> => {
    const all = Array.from({ length }, () => getMany(url + path, each, seconds));
    return (await Promise.all(all)).reduce((sum, came) => sum + came[what], 0);
  };
  // The load is started where the servers run.
  const beside = <T>(start: () => Promise<T>): Promise<T> =>
    length === 1 ? machine.onServerCore(start) : machine.onTwoCores(start);
  return beside(async () => ({
    manifests: await load(shop.image.manifest.path, connections.manifests, "answers"),
    blobs: (await load(shop.blob.path, connections.blobs, "bytes")) / 1e9,
  }));
}
