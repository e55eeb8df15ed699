/** Tags that never move, when the state that knew them was restored. */
import { describe, expect, it } from "vitest";
import { ImmutableTags } from "../../../src/mirror/immutable.ts";
import { ociManifest } from "../../../src/oci/descriptor.ts";
import { digestOf, type Digest } from "../../../src/oci/digest.ts";
import { parsePattern } from "../../../src/oci/pattern.ts";
import { isDigest, type Reference } from "../../../src/oci/reference.ts";
import { StoreUnavailableError } from "../../../src/store/error.ts";
import type { State } from "../../../src/store/state.ts";
import { slow } from "../../support/slowStore.ts";
import { memoryStore } from "../../support/memoryStore.ts";
import { pullOf } from "../../support/pullContext.ts";
import { shelf, ShelfUpstream, tag } from "../../support/shelfUpstream.ts";

const repository = shelf(0);
const [first, moved] = ["first", "moved"].map((text) => digestOf(Buffer.from(text))) as [Digest, Digest];
const manifest = (digest: Digest) => ({ digest, mediaType: ociManifest, size: 5 });

function open(more: Partial<Pick<State, "anchors" | "proof">> = {}, isProven = false) {
  const memory = memoryStore(() => 1);
  const [catalog, anchors, proof] = [slow(memory.catalog), slow(memory.anchors), slow(memory.proof)];
  const pattern = parsePattern("**");
  const asked: Reference[] = [];
  const tags = new ImmutableTags({
    patterns: pattern ? [pattern] : [],
    anchors,
    proof: isProven ? proof : { unprovenSince: async () => 1 },
    catalog,
    isStoreTrouble: (error) => error instanceof StoreUnavailableError,
    manifestPulls: {
      // The upstream has moved the tag.
      get: async (_pull, reference) => {
        asked.push(reference);
        const digest = isDigest(reference) ? reference : moved;
        return { outcome: "miss", manifest: manifest(digest), bytes: Buffer.from("bytes") };
      },
    },
    moved: () => {},
    now: () => 1,
    ...more,
  });
  const pull = async (): Promise<Digest> =>
    (await tags.get(pullOf(new ShelfUpstream(), repository), tag)).manifest.digest;
  return { catalog, anchors, pull, asked };
}

function fail(): never {
  throw new StoreUnavailableError("failing");
}

describe("a tag that the restored state does not know", () => {
  it("means what the catalog served last, whatever the upstream has said since", async () => {
    const { catalog, anchors, pull } = open();
    await catalog.resolve(repository, tag, manifest(first), 1);
    await catalog.holdManifest(repository, manifest(first), []);
    await catalog.resolve(repository, tag, manifest(moved), 2);
    expect(await pull()).toBe(first);
    expect(await anchors.of(repository, tag)).toBe(first);
  });

  it("is refused when the catalog does not know it either, and never anchored anew", async () => {
    const { anchors, pull, asked } = open();
    await expect(pull()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await expect(pull()).rejects.toThrow(/pull it by its digest.*hubcap fsck --repair/);
    expect(asked).toEqual([]);
    expect(await anchors.of(repository, tag)).toBeUndefined();
  });

  it("is anchored as ever once the state is confirmed", async () => {
    const { anchors, pull } = open({}, true);
    expect(await pull()).toBe(moved);
    expect(await anchors.of(repository, tag)).toBe(moved);
  });

  it("is treated alike while the store does not answer", async () => {
    const anchors = { of: async () => fail(), keep: async () => fail(), prune: async () => fail() };
    const { catalog, pull } = open({
      anchors,
      proof: { unprovenSince: async () => fail(), confirm: async () => {} },
    });
    await expect(pull()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await catalog.resolve(repository, tag, manifest(first), 1);
    expect(await pull()).toBe(first);
  });
});
