/** An upstream that sends its blobs itself, and slowly: more of them than may run at once keep nothing else waiting. */
import { afterEach, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

/** As many downloads from one origin run at once for one address: a third of the 48 connections is for others. */
const most = 32;

let setup: Setup | undefined;

afterEach(() => setup?.close());

/** Images of one layer at a stand-in that sends what it has from its own address. */
async function open(count: number): Promise<{ setup: Setup; images: Pushed[] }> {
  const opened = await openSetup({ upstream: { quota: { limit: 1000, window: "6h" } } });
  setup = opened;
  opened.hub.behaviour.redirect = false;
  const images = await Promise.all(
    Array.from({ length: count }, (_, number) => opened.pushLayer(`library/slow${number}`, 300_000)),
  );
  return { setup: opened, images };
}

/** Begins as many downloads as may run; none of them ends until the fault is released. */
async function occupy(setup: Setup, images: readonly Pushed[]) {
  const fault = setup.hub.fault({ kind: "stall", asks: "blob", method: "GET", after: 100_000 });
  const readers = images.slice(0, most).map((pushed) => setup.read(pushed));
  await expect.poll(() => setup.hub.counts.blobGets.total).toBe(most);
  return { fault, readers };
}

test("with every connection for downloads taken, manifests are answered at once and downloads in their turn", async () => {
  const { setup, images } = await open(most + 27);
  const { fault, readers } = await occupy(setup, images);
  const waiting = images.slice(most).map((pushed) => setup.read(pushed));
  const manifests = await Promise.all(
    images.map(({ repository, image }) => setup.manifest(repository, image.root.digest)),
  );
  expect(manifests.map(({ status }) => status)).toEqual(images.map(() => 200));
  expect(setup.hub.counts.blobGets.total).toBe(most);
  fault.release();
  const ends = await Promise.all([...readers, ...waiting].map(({ ended }) => ended));
  expect(ends.filter(({ status, right, complete }) => status === 200 && right && complete)).toHaveLength(
    images.length,
  );
});

test("a download whose turn does not come is sent away with 503, the reason and when to come back", async () => {
  const { setup, images } = await open(most + 1);
  const { fault, readers } = await occupy(setup, images);
  const [last] = images.slice(-1);
  const refused = await ask(last ? setup.blobUrl(last) : "", { headerTimeout: 60_000 });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
  expect(refused.body.toString()).toContain("too many downloads from docker.io are running");
  fault.release();
  await Promise.all(readers.map(({ ended }) => ended));
});
