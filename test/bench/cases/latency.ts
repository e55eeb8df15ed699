/** A cached manifest under a steady load far below the limit: how long the slowest in a hundred clients wait. */
import type { Case, Lab } from "../lab.ts";
import { latencies } from "../load/openModel.ts";
import { judge, type Row } from "../report.ts";
import { alternate } from "../rounds.ts";
import type { Server } from "../servers/server.ts";
import { percentile } from "../statistics.ts";

const perSecond = 1000;

export const openModelLatency: Case = { name: "latency", run };

async function run(lab: Lab): Promise<Row[]> {
  await using hubcap = await lab.startFullHubcap();
  await using node = await lab.startBareNode();
  const servers = [hubcap, node];
  for (const server of servers) await measure(server, lab, 2);
  const found = await alternate<Server, number>(servers, lab.quick ? 2 : 5, (server) =>
    measure(server, lab, lab.quick ? 3 : 10),
  );
  return [
    judge({
      what: `cached manifest, open model at ${perSecond}/s: p99`,
      unit: "ms",
      hubcap: { server: hubcap.name, rounds: found.get(hubcap) ?? [] },
      // What of it is the load's own and the system's.
      beside: { server: node.name, rounds: found.get(node) ?? [] },
      demand: { of: "figure", sense: "at most", bound: 5 },
    }),
  ];
}

async function measure({ url }: Server, { shop }: Lab, seconds: number): Promise<number> {
  return percentile(await latencies(url, shop.image.manifest.path, perSecond, seconds), 0.99);
}
