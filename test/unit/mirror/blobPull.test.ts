/** What a catalog that cannot be written does to pulls of blobs: nothing. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { UpstreamRequests } from "../../../src/mirror/upstreamRequests.ts";
import { BlobPulls } from "../../../src/mirror/blobPull.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/reference.ts";
import { Reconciler } from "../../../src/store/repair/reconcile.ts";
import { Fills } from "../../../src/store/fill/fills.ts";
import { disk } from "../../../src/store/disk/files.ts";
import { StoreUnavailableError } from "../../../src/store/error.ts";
import { TolerantCatalog } from "../../../src/store/tolerant.ts";
import { Health } from "../../../src/store/health.ts";
import { Intake } from "../../../src/store/fill/intake.ts";
import { pullOf } from "../../support/pullContext.ts";
import { slow } from "../../support/slowStore.ts";
import { FakeBlobs } from "../../support/fakeBlobs.ts";
import { FakeCatalog } from "../../support/fakeCatalog.ts";
import { shelf, ShelfUpstream, versionOf } from "../../support/shelfUpstream.ts";
import { bytesOf } from "../../support/pieces.ts";

class FullCatalog extends FakeCatalog {
  override async link(repository: Repository, digest: Digest): Promise<void> {
    if (repository.name === shelf(1).name) throw new StoreUnavailableError("full");
    await super.link(repository, digest);
  }
}

/** Layers in front of two repositories that share a layer. */
async function open(fake: FakeCatalog, adopt?: (fills: Fills) => Promise<undefined>) {
  const upstream = new ShelfUpstream();
  upstream.push(0, versionOf(0, 0));
  upstream.push(1, versionOf(1, 0));
  const [blobs, fills] = [slow(new FakeBlobs()), new Fills(systemClock)];
  const root = await mkdtemp(join(tmpdir(), "hubcap-blobs-"));
  const health = new Health({ root, minFree: 0, changed: () => {}, files: disk });
  const catalog = new TolerantCatalog(slow(fake), health);
  const own = new Reconciler({ blobs, catalog });
  const pulls = new BlobPulls({
    catalog,
    blobs,
    fills,
    health,
    reconciler: {
      adopt: (digest) => (adopt ? adopt(fills) : own.adopt(digest)),
      recheck: (digest, size) => own.recheck(digest, size),
    },
    intake: new Intake({
      blobs,
      fills,
      health,
      space: {
        reserve: async () => ({ make: async () => true, release: () => {} }),
        lacking: async () => 0,
      },
      isNamed: async () => true,
    }),
    requests: new UpstreamRequests(new AbortController().signal, systemClock),
    manifestsStored: () => undefined,
    fetched: () => {},
    failed: () => {},
    bypassed: () => {},
    clock: systemClock,
  });
  const [shared] = versionOf(0, 0).blobs.keys();
  if (!shared) throw new Error("no layer is shared");
  const pull = async (repository: number): Promise<number> => {
    const { content } = await pulls.get(pullOf(upstream, shelf(repository)), shared);
    if (!content) throw new Error("no content");
    return (await bytesOf(content)).length;
  };
  return { upstream, fills, pull };
}

it("serves a blob to a second repository although the row for it cannot be written", async () => {
  const { fills, pull } = await open(new FullCatalog());
  expect(await Promise.all([pull(0), pull(1)])).toEqual([1000, 1000]);
  await fills.idle();
  // A rejection that no one handles fails the run.
  await new Promise(setImmediate);
});

it.each(["running", "over"])(
  "asks once, though a fill was %s before the disk was looked at (R1)",
  async (when) => {
    let looks = 0;
    const setup = await open(new FakeCatalog(), async (fills) => {
      looks += 1;
      if (looks !== 2) return undefined;
      const began = fills.begin.bind(fills);
      const begun = Promise.withResolvers<void>();
      fills.begin = (...args) => {
        begun.resolve();
        return began(...args);
      };
      await begun.promise;
      if (when === "over") await fills.idle();
      return undefined;
    });
    expect(await Promise.all([setup.pull(0), setup.pull(0)])).toEqual([1000, 1000]);
    await setup.fills.idle();
    expect(setup.upstream.sent).toHaveLength(1);
  },
);
