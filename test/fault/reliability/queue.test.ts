/** An upstream that sends its blobs itself, and slowly: more of them than may run at once keep nothing else waiting. */
import { afterEach, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { openHouse, type House, type Pushed } from "../../support/setup.ts";

/** As many downloads from one origin run at once. */
const most = 48;

let house: House | undefined;

afterEach(() => house?.close());

/** Images of one layer at a stand-in that sends what it has from its own address. */
async function open(count: number): Promise<{ house: House; images: Pushed[] }> {
  const opened = await openHouse();
  house = opened;
  opened.hub.behaviour.redirect = false;
  const images = await Promise.all(
    Array.from({ length: count }, (_, number) => opened.pushLayer(`library/slow${number}`, 300_000)),
  );
  return { house: opened, images };
}

/** Begins as many downloads as may run; none of them ends until the fault is released. */
async function occupy(house: House, images: readonly Pushed[]) {
  const fault = house.hub.fault({ kind: "stall", asks: "blob", method: "GET", after: 100_000 });
  const readers = images.slice(0, most).map((pushed) => house.read(pushed));
  await expect.poll(() => house.hub.counts.blobGets.total).toBe(most);
  return { fault, readers };
}

test("with every connection for downloads taken, manifests are answered at once and downloads in their turn", async () => {
  const { house, images } = await open(most + 27);
  const { fault, readers } = await occupy(house, images);
  const waiting = images.slice(most).map((pushed) => house.read(pushed));
  const manifests = await Promise.all(
    images.map(({ repository, image }) => house.manifest(repository, image.root.digest)),
  );
  expect(manifests.map(({ status }) => status)).toEqual(images.map(() => 200));
  expect(house.hub.counts.blobGets.total).toBe(most);
  fault.release();
  const ends = await Promise.all([...readers, ...waiting].map(({ ended }) => ended));
  expect(ends.filter(({ status, right, complete }) => status === 200 && right && complete)).toHaveLength(
    images.length,
  );
});

test("a download whose turn does not come is sent away with 503, the reason and when to come back", async () => {
  const { house, images } = await open(most + 1);
  const { fault, readers } = await occupy(house, images);
  const [last] = images.slice(-1);
  const refused = await ask(last ? house.blobUrl(last) : "", { headerTimeout: 20_000 });
  expect(refused.status).toBe(503);
  expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
  expect(refused.body.toString()).toContain("too many downloads from docker.io are running");
  fault.release();
  await Promise.all(readers.map(({ ended }) => ended));
}, 40_000);
