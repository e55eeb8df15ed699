/** Manifests are sent once they are proven and stored behind that, and a disk that does not take one does nothing to its pull. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { ManifestIntake, ManifestPulls } from "../../../src/mirror/manifestPull.ts";
import { UpstreamRequests } from "../../../src/mirror/upstreamRequests.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { Reconciler } from "../../../src/store/repair/reconcile.ts";
import { disk } from "../../../src/store/disk/files.ts";
import { Health } from "../../../src/store/health.ts";
import { pullOf } from "../../support/pullContext.ts";
import { slow } from "../../support/slowStore.ts";
import { FakeBlobs } from "../../support/fakeBlobs.ts";
import { FakeCatalog } from "../../support/fakeCatalog.ts";
import { shelf, ShelfUpstream, tag, versionOf } from "../../support/shelfUpstream.ts";
import { UpstreamError } from "../../../src/upstream/error.ts";

class SlowBlobs extends FakeBlobs {
  /** What the disk fails with. */
  code: string | undefined;
  /** Settles when the disk has taken what it is given. */
  written: Promise<void> = Promise.resolve();

  override async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    await this.written;
    const { code } = this;
    if (code) throw Object.assign(new Error(code), { code });
    await super.put(digest, bytes);
  }
}

async function open(freshness = { tagTtlMs: 60_000, staleIfErrorMs: 0, lowTtlFactor: 1 }) {
  const upstream = new ShelfUpstream();
  for (const number of [0, 1]) upstream.push(number, versionOf(0, 0));
  const [blobs, catalog, bypassed] = [slow(new SlowBlobs()), slow(new FakeCatalog()), [] as string[]];
  const failures: unknown[] = [];
  const root = await mkdtemp(join(tmpdir(), "hubcap-manifests-"));
  const health = new Health({ root, minFree: 0, changed: () => {}, files: disk });
  const reconciler = new Reconciler({ blobs, catalog });
  const intake = new ManifestIntake({
    catalog,
    blobs,
    reconciler,
    health,
    bypassed: (_upstream, reason) => void bypassed.push(reason),
    failed: (error) => void failures.push(error),
  });
  const pulls = new ManifestPulls({
    catalog,
    blobs,
    reconciler,
    intake,
    requests: new UpstreamRequests(new AbortController().signal, systemClock),
    freshness,
    clock: systemClock,
    used: () => {},
    fetched: () => {},
  });
  const pull = (repository = 0) => pulls.get(pullOf(upstream, shelf(repository)), tag);
  return { upstream, blobs, catalog, health, intake, bypassed, failures, pull };
}

const version = versionOf(0, 0);

it("a manifest is sent before the disk has taken it, to all who want it, and fetched once", async () => {
  const { upstream, blobs, catalog, intake, pull } = await open();
  const disk = Promise.withResolvers<void>();
  blobs.written = disk.promise;
  const first = await Promise.all([pull(), pull()]);
  expect(first.map(({ outcome }) => outcome)).toEqual(["miss", "join"]);
  expect(await pull()).toMatchObject({ outcome: "join", bytes: version.bytes });
  expect(await catalog.manifest(shelf(0), version.digest)).toBeUndefined();
  disk.resolve();
  await intake.close();
  expect(await pull()).toMatchObject({ outcome: "hit", bytes: version.bytes });
  expect(upstream.sent).toEqual([version.digest]);
});

it("a manifest that is being stored is served stale when its upstream goes down", async () => {
  const { upstream, blobs, intake, pull } = await open({
    tagTtlMs: 0,
    staleIfErrorMs: 60_000,
    lowTtlFactor: 1,
  });
  const disk = Promise.withResolvers<void>();
  blobs.written = disk.promise;
  await pull();
  vi.spyOn(upstream, "headManifest").mockRejectedValue(new UpstreamError("unreachable", "it is down"));
  expect(await pull()).toMatchObject({ outcome: "stale", bytes: version.bytes });
  disk.resolve();
  await intake.close();
});

it("another repository waits for bytes that are being stored, and does not fetch them again", async () => {
  const { upstream, blobs, pull } = await open();
  const disk = Promise.withResolvers<void>();
  blobs.written = disk.promise;
  await pull(0);
  const other = pull(1);
  await new Promise(setImmediate);
  disk.resolve();
  expect(await other).toMatchObject({ bytes: version.bytes });
  expect(upstream.sent).toEqual([version.digest]);
});

it("shutting down waits for what is being stored", async () => {
  const { blobs, catalog, intake, pull } = await open();
  const disk = Promise.withResolvers<void>();
  blobs.written = disk.promise;
  await pull();
  let isClosed = false;
  const closed = intake.close().then(() => (isClosed = true));
  await new Promise(setImmediate);
  expect(isClosed).toBe(false);
  disk.resolve();
  await closed;
  expect(await catalog.manifest(shelf(0), version.digest)).toBeDefined();
});

it.each([
  ["EIO", "failing"],
  ["EUCLEAN", "failing"],
  ["EACCES", "failing"],
  ["EROFS", "failing"],
  ["ENOSPC", "full"],
] as const)(
  "a manifest that the disk refuses by %s is served, and held with the next pull",
  async (code, trouble) => {
    const { blobs, catalog, health, intake, bypassed, pull } = await open();
    blobs.code = code;
    expect(await pull()).toMatchObject({ outcome: "miss", bytes: version.bytes });
    await intake.close();
    expect(bypassed).toEqual([trouble]);
    expect(health.trouble).toBe(trouble);
    expect(await catalog.manifest(shelf(0), version.digest)).toBeUndefined();
    blobs.code = undefined;
    expect(await pull()).toMatchObject({ outcome: "miss" });
    await intake.close();
    expect(await pull()).toMatchObject({ outcome: "hit", bytes: version.bytes });
  },
);

it("an error that is not the disk's is not taken for one, and is reported", async () => {
  const { blobs, health, intake, bypassed, failures, pull } = await open();
  blobs.code = "ERR_INTERNAL_ASSERTION";
  expect(await pull()).toMatchObject({ outcome: "miss", bytes: version.bytes });
  await intake.close();
  expect(failures).toMatchObject([{ code: "ERR_INTERNAL_ASSERTION" }]);
  expect(bypassed).toEqual([]);
  expect(health.trouble).toBeUndefined();
});
