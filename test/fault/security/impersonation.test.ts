/** A client that takes a node's name: it spends its own limits, and the node has all of its. */
import { Agent } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ask, openReply, type Reply } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";

let hub: Hub;
let hubcap: Hubcap;
let layer: string;

beforeAll(async () => {
  hub = await startHub({ limit: 100 });
  const image = await buildImage({ layers: 1, layerBytes: 8 * 1024 * 1024 });
  layer = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
  hub.push(image, "library/app", "1");
  hubcap = await startHubcap({
    config: {
      upstreams: { "docker.io": upstreamOf(hub) },
      quota: { perClient: "5%" },
      limits: { streamsPerClient: 3, misses: { burst: 10, perMinute: 1 } },
    },
  });
  await as("node-7", "127.0.0.7", `library/app/blobs/${layer}`);
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

function as(node: string, localAddress: string, path: string): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${path}`, {
    headers: { "x-hubcap-node": node },
    agent: new Agent({ localAddress }),
  });
}

/** A cold pull of a new image, as a node whose name two addresses give. */
async function pull(address: string, name: string): Promise<number> {
  hub.push(await buildImage({ seed: name, single: true }), `library/${name}`, "1");
  return (await as("node-8", address, `library/${name}/manifests/1`)).status;
}

test("misses", async () => {
  const statuses: number[] = [];
  for (let number = 0; number < 30; number += 1)
    statuses.push((await as("node-7", "127.0.0.66", `library/none-${number}/manifests/1`)).status);
  expect(statuses.slice(20)).toEqual(statuses.slice(20).map(() => 429));
  expect((await as("node-7", "127.0.0.7", "library/not-there/manifests/1")).status).not.toBe(429);
});

test("blobs at once", async () => {
  const agent = new Agent({ localAddress: "127.0.0.66" });
  const url = `${hubcap.url}/v2/library/app/blobs/${layer}`;
  const held = await Promise.all(
    [1, 2, 3].map(() => openReply(url, { agent, headers: { "x-hubcap-node": "node-7" } })),
  );
  expect((await as("node-7", "127.0.0.66", `library/app/blobs/${layer}`)).status).toBe(429);
  expect((await as("node-7", "127.0.0.7", `library/app/blobs/${layer}`)).status).toBe(200);
  for (const reply of held) reply.destroy();
});

test("the share of the limit, over a restart too", async () => {
  const statuses: number[] = [];
  for (let number = 0; number < 8; number += 1) statuses.push(await pull("127.0.0.66", `mine-${number}`));
  expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429, 429]);
  expect(await pull("127.0.0.8", "its-own")).toBe(200);
  await hubcap.stop();
  await hubcap.start();
  expect(await pull("127.0.0.66", "mine-again")).toBe(429);
  expect(await pull("127.0.0.8", "its-own-again")).toBe(200);
});

async function pullAs(node: string, address: string): Promise<number> {
  hub.push(await buildImage({ seed: `as ${node}`, single: true }), `library/as-${node}`, "1");
  return (await as(node, address, `library/as-${node}/manifests/1`)).status;
}

test("more names at one address give it no more than eight shares", async () => {
  const statuses: number[] = [];
  for (let name = 0; name < 50; name += 1) statuses.push(await pullAs(`name-${name}`, "127.0.0.77"));
  expect(statuses.filter((status) => status === 200)).toHaveLength(40);
  expect(statuses.slice(40)).toEqual(statuses.slice(40).map(() => 429));
  expect(await pullAs("node-9", "127.0.0.9")).toBe(200);
});
