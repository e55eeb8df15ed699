/** Connections that ask for nothing: however many there are, a client that asks is answered. */
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { ask } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";

let hub: Hub;
let hubcap: Hubcap;
const sockets: Socket[] = [];

beforeAll(async () => {
  hub = await startHub({ limit: 1000 });
  hub.push(await buildImage(), "library/app", "1");
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
  await ask(`${hubcap.url}/v2/library/app/manifests/1`);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await vi.waitUntil(async () => (await hubcap.openFiles()) < 200, { timeout: 60_000 });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

/** Opens a connection that sends nothing. */
function idle(localAddress: string): Promise<void> {
  const { hostname, port } = new URL(hubcap.url);
  const socket = connect({ host: hostname, port: Number(port), localAddress });
  sockets.push(socket);
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
}

/** Fills in steps, so that the system's queue of new connections is never what refuses them. */
async function fill(addresses: readonly string[], each: number): Promise<void> {
  for (let opened = 0; opened < each; opened += 100)
    await Promise.all(addresses.flatMap((address) => Array.from({ length: 100 }, () => idle(address))));
}

test.each([
  ["two addresses with 5,000 each", 2, 5000],
  ["ten addresses with 1,000 each", 10, 1000],
])(
  "%s close the door to no one",
  async (_, addresses, each) => {
    await fill(
      Array.from({ length: addresses }, (_, number) => `127.0.1.${number + 1}`),
      each,
    );
    // New connections, from an address that has none.
    const statuses = await Promise.all(
      Array.from({ length: 50 }, async () => (await ask(`${hubcap.url}/v2/library/app/manifests/1`)).status),
    );
    expect(statuses).toEqual(statuses.map(() => 200));
    expect(await hubcap.openFiles()).toBeLessThan(10_200);
    expect((await ask(`${hubcap.statusUrl}/livez`)).status).toBe(200);
  },
  240_000,
);

test("a connection that is busy is not closed for those that come after it", async () => {
  const { hostname, port } = new URL(hubcap.url);
  const busy = connect({ host: hostname, port: Number(port), localAddress: "127.0.2.1" });
  sockets.push(busy);
  const held = hub.fault({ origin: "registry", kind: "hang", repository: "library/slow", times: 1 });
  hub.push(await buildImage({ seed: "slow" }), "library/slow", "1");
  const answer = new Promise<string>((resolve) =>
    busy.once("data", (bytes: Buffer) => resolve(bytes.toString("latin1"))),
  );
  busy.write("GET /v2/library/slow/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n");
  await expect.poll(() => held.hits).toBe(1);
  await fill(["127.0.2.1"], 1500);
  held.release();
  expect(await answer).toMatch(/^HTTP\/1\.1 200 /);
}, 240_000);
