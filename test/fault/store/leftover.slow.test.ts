/** A large download whose Hubcap was killed: its successor goes on where it stopped, after it has read all of it again. */
import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openReply } from "../../support/ask.ts";
import { floodContent } from "../../support/content.ts";
import { fsck } from "../../support/fsck.ts";
import { buildImage } from "../../support/images.ts";
import { openSetup, type Setup } from "../../support/setup.ts";
import { worthKeeping } from "../../../src/store/disk/leftovers.ts";

const mib = 1024 * 1024;
const whole = floodContent(worthKeeping + 40 * mib, "a large layer");

let setup: Setup;
let digest: string;

beforeEach(async () => {
  setup = await openSetup();
  const hash = createHash("sha256");
  for await (const piece of whole.read(0, whole.size)) hash.update(piece as Buffer);
  digest = `sha256:${hash.digest("hex")}`;
  const image = await buildImage({ seed: "large" });
  setup.hub.push({ ...image, blobs: new Map([...image.blobs, [digest, whole]]) }, "library/app", "1");
});
afterEach(() => setup.close());

/** Pulls the layer; what came, as a digest, or how many bytes came before it broke off. */
async function pull(): Promise<string | number> {
  const hash = createHash("sha256");
  let received = 0;
  try {
    const reply = await openReply(`${setup.hubcap.url}/v2/library/app/blobs/${digest}`);
    for await (const piece of reply as AsyncIterable<Buffer>) {
      hash.update(piece);
      received += piece.length;
    }
  } catch {
    return received;
  }
  return received === whole.size ? `sha256:${hash.digest("hex")}` : received;
}

async function leftOver(): Promise<number> {
  const folder = join(setup.hubcap.root, "ingest");
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size),
  );
  return Math.max(0, ...sizes);
}

it("R40 a kill -9 costs a large download only what had not come yet", async () => {
  const stall = setup.hub.fault({
    origin: "cdn",
    asks: "blob",
    kind: "stall",
    after: worthKeeping + 10 * mib,
  });
  const cut = pull();
  await expect.poll(leftOver).toBeGreaterThan(worthKeeping + 9 * mib);
  await setup.hubcap.kill9();
  expect(await cut).toBeLessThan(whole.size);
  const kept = await leftOver();
  stall.remove();
  setup.hub.counts.reset();

  await setup.hubcap.start();
  expect(await pull()).toBe(digest);
  // From the last byte that was here, which is compared with nothing but costs nothing either.
  const ranges = setup.hub.counts.requests
    .filter(({ origin }) => origin === "cdn")
    .map(({ headers }) => headers.range);
  expect(ranges).toEqual([`bytes=${kept - 1}-`]);
  await expect.poll(leftOver).toBe(0);
  expect(await pull()).toBe(digest);
  expect(setup.hub.counts.blobGets.total).toBe(1);
  expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
});
