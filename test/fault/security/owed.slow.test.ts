/** What a client does not read: it costs Hubcap little, and others nothing. */
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { digestOf } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Bundle } from "../../support/images.ts";
import { bearable, underAttack, type Noticed } from "../../support/underAttack.ts";

const mib = 1024 * 1024;

let hub: Hub;
let hubcap: Hubcap;
let layer: string;
const sockets: Socket[] = [];

/** An artifact whose manifest alone is nearly as large as one may be. */
function largeArtifact(): Bundle {
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const empty = { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf("{}"), size: 2 };
  const annotations = { filler: "x".repeat(3.9 * mib) };
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType, config: empty, layers: [empty], annotations }),
  );
  const root = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { root, manifests: new Map([[root.digest, { mediaType, bytes }]]), blobs: new Map() };
}

beforeAll(async () => {
  hub = await startHub({ limit: 1000 });
  const image = await buildImage({ layers: 1, layerBytes: mib });
  layer = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
  hub.push(image, "library/app", "1");
  hub.push(largeArtifact(), "library/big", "1");
  const small = await buildImage({ seed: "many", layerBytes: 10 });
  for (let number = 0; number < 200_000; number += 1) hub.push(small, "library/many", `1.0.${number}`);
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
  const paths = ["app/manifests/1", "big/manifests/1", "many/tags/list?n=1", `app/blobs/${layer}`];
  for (const path of paths) await ask(`${hubcap.url}/v2/library/${path}`);
}, 120_000);

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

/** A connection from one of the loopback's addresses that sends and never reads. */
async function unread(bytes: string, localAddress = "127.0.0.2"): Promise<void> {
  const { hostname, port } = new URL(hubcap.url);
  const socket = connect({ host: hostname, port: Number(port), localAddress });
  sockets.push(socket);
  socket.on("error", () => {}).pause();
  await new Promise<void>((resolve) => socket.once("close", resolve).write(bytes, () => resolve()));
}

const get = (path: string): string => `GET /v2/${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

async function attacked(attack: () => Promise<unknown>): Promise<Noticed> {
  const noticed = await underAttack(
    hubcap,
    async () => expect((await ask(`${hubcap.url}/v2/library/app/manifests/1`)).status).toBe(200),
    attack,
  );
  // What is not held can be had as well.
  const name = `library/cold-${hub.counts.requests.length}`;
  hub.push(await buildImage({ seed: name }), name, "1");
  expect((await ask(`${hubcap.url}/v2/${name}/manifests/1`)).status).toBe(200);
  return noticed;
}

function expectBearable({ p99, rssGrowth, descriptorGrowth }: Noticed): void {
  expect(p99).toBeLessThan(bearable.p99);
  expect(rssGrowth).toBeLessThan(bearable.rssGrowth);
  expect(descriptorGrowth).toBeLessThan(bearable.descriptorGrowth);
}

test("1,500 requests on one connection for a manifest of 4 MiB", async () => {
  expectBearable(await attacked(() => unread(get("library/big/manifests/1").repeat(1500))));
}, 120_000);

test("4,000 requests on each of ten connections for a blob", async () => {
  const requests = get(`library/app/blobs/${layer}`).repeat(4000);
  expectBearable(await attacked(() => Promise.all(Array.from({ length: 10 }, () => unread(requests)))));
}, 120_000);

test.each([
  ["a manifest of 4 MiB", () => get("library/big/manifests/1")],
  ["a list of 200,000 tags", () => get("library/many/tags/list")],
  ["all pages of a list of 200,000 tags", () => get("library/many/tags/list?n=10000").repeat(16)],
])(
  "a hundred connections that ask for %s",
  async (_, request) => {
    expectBearable(await attacked(() => Promise.all(Array.from({ length: 100 }, () => unread(request())))));
  },
  120_000,
);
