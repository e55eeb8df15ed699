/** A cached manifest: how many GETs by digest and HEADs by tag a second one core answers. */
import type { Case, Lab } from "../lab.ts";
import { headsPerSecond } from "../load/closedLoop.ts";
import { getMany } from "../load/wrk.ts";
import { judge, type Row } from "../report.ts";
import { alternate, seriesOf } from "../rounds.ts";
import type { Server } from "../servers/server.ts";

const connections = 32;

interface Found {
  readonly gets: number;
  readonly heads: number;
}

export const cachedManifest: Case = { name: "manifest", run };

async function run(lab: Lab): Promise<Row[]> {
  await using hubcap = await lab.startFullHubcap();
  await using registry = await lab.startFilledRegistry();
  await using node = await lab.startBareNode();
  const servers = [hubcap, registry, node];
  // Compilers need some thousands of requests before a server is as fast as it gets.
  for (const server of servers) await measure(server, lab, 2);
  const found = await alternate<Server, Found>(servers, lab.quick ? 2 : 5, (server) =>
    measure(server, lab, lab.quick ? 2 : 5),
  );
  // How fast the machine is, bare Node's GETs tell for both methods: 20,000 a second where it reaches 50,000.
  const yardsticks = [
    { beside: registry, figure: undefined, bound: 20 },
    { beside: node, figure: "gets", bound: 0.4 },
  ] as const;
  return (["gets", "heads"] as const).flatMap((own) =>
    yardsticks.map(({ beside, figure = own, bound }) =>
      judge({
        what: `cached manifest, ${connections} connections: ${own === "gets" ? "GET" : "HEAD"}`,
        unit: "1/s",
        hubcap: seriesOf(hubcap.name, found.get(hubcap), own),
        beside: seriesOf(beside.name, found.get(beside), figure),
        demand: { of: "ratio", sense: "at least", bound },
      }),
    ),
  );
}

async function measure({ url }: Server, { shop }: Lab, seconds: number): Promise<Found> {
  return {
    gets: (await getMany(url + shop.image.manifest.path, connections, seconds)).answers,
    heads: await headsPerSecond(url, shop.image.tag.path, connections, seconds),
  };
}
