/** Pulls over a store whose every call yields to the event loop: nothing relies on two of them happening in one turn. */
import { expect, it } from "vitest";
import { parsePattern } from "../../../src/oci/pattern.ts";
import { failingNowAndThen, slowStore } from "../../support/slowStore.ts";
import { bytesOf } from "../../support/pieces.ts";
import { requestOf } from "../../support/pullContext.ts";
import { shelf, ShelfUpstream, tag, versionOf } from "../../support/shelfUpstream.ts";
import { testMirror, testStore } from "../../support/testStore.ts";

const clients = Array.from({ length: 20 });

it("fetches a manifest and each of its blobs once, however many clients come at any moment", async () => {
  const upstream = new ShelfUpstream();
  const version = versionOf(0, 0);
  upstream.push(0, version);
  const inner = await testStore();
  const store = { ...inner, ...slowStore(inner) };
  const { mirror, fills } = testMirror({ store, upstream, capacity: 100_000, now: Date.now });
  await Promise.all(
    clients.map(async (_, turns) => {
      // Each client comes a few turns after the one before.
      for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate);
      const { bytes } = await mirror.manifest(shelf(0), tag, requestOf());
      expect(bytes).toEqual(version.bytes);
      for (const [digest, expected] of version.blobs) {
        const { content } = await mirror.blob(shelf(0), digest, requestOf());
        expect(content && (await bytesOf(content))).toEqual(expected);
      }
    }),
  );
  await Promise.all([mirror.stored(), fills.idle()]);
  expect(upstream.sent.toSorted()).toEqual([version.digest, ...version.blobs.keys()].toSorted());
  await store.close();
});

const pattern = parsePattern("**");
const rule = {
  match: pattern ? [pattern] : [],
  pull: "allow",
  digestOnly: false,
  maxSize: 1_000_000,
} as const;

it.each([
  ["no rules", []],
  ["a rule that looks at every image", [rule]],
])(
  "with %s, gives every client the right bytes although a fifth of all calls fail, and has all when none do",
  async (_, rules) => {
    for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
      const upstream = new ShelfUpstream();
      const version = versionOf(0, 0);
      upstream.push(0, version);
      const inner = await testStore();
      const chance = failingNowAndThen(seed, 0.2);
      let isFailing = true;
      const store = { ...inner, ...slowStore(inner, () => isFailing && chance()) };
      const { mirror, fills, health } = testMirror({
        store,
        upstream,
        capacity: 100_000,
        now: Date.now,
        rules,
      });
      const pullAll = async (): Promise<void> => {
        const { bytes } = await mirror.manifest(shelf(0), tag, requestOf());
        expect(bytes).toEqual(version.bytes);
        for (const [digest, expected] of version.blobs) {
          const { content } = await mirror.blob(shelf(0), digest, requestOf());
          expect(content && (await bytesOf(content))).toEqual(expected);
        }
      };
      await Promise.all(clients.map(pullAll));
      isFailing = false;
      await Promise.all([mirror.stored(), fills.idle()]);
      await health.check();
      await pullAll();
      await Promise.all([mirror.stored(), fills.idle()]);
      for (const digest of [version.digest, ...version.blobs.keys()])
        expect(await inner.blobs.size(digest)).toBeDefined();
      await inner.close();
    }
  },
);
