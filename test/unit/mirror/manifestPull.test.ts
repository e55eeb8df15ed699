/** What a disk that does not take a manifest does to its pull: nothing. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { patienceMs } from "../../../src/mirror/context.ts";
import { UpstreamRequests } from "../../../src/mirror/upstreamRequests.ts";
import { ManifestPulls } from "../../../src/mirror/manifestPull.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { Reconciler } from "../../../src/store/repair/reconcile.ts";
import { disk } from "../../../src/store/disk/files.ts";
import { Health } from "../../../src/store/health.ts";
import { FakeBlobs } from "../../support/fakeBlobs.ts";
import { FakeCatalog } from "../../support/fakeCatalog.ts";
import { shelf, ShelfUpstream, tag, versionOf } from "../../support/shelfUpstream.ts";

class FailingBlobs extends FakeBlobs {
  code: string | undefined;

  override async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    const { code } = this;
    if (code) throw Object.assign(new Error(code), { code });
    await super.put(digest, bytes);
  }
}

async function open() {
  const upstream = new ShelfUpstream();
  upstream.push(0, versionOf(0, 0));
  const [blobs, catalog, bypassed] = [new FailingBlobs(), new FakeCatalog(), [] as string[]];
  const root = await mkdtemp(join(tmpdir(), "hubcap-manifests-"));
  const health = new Health({ root, minFree: 0, changed: () => {}, files: disk });
  const manifests = new ManifestPulls({
    catalog,
    blobs,
    health,
    reconciler: new Reconciler({ blobs, catalog }),
    requests: new UpstreamRequests(new AbortController().signal, Date.now),
    freshness: { tagTtlMs: 60_000, staleIfErrorMs: 0, lowTtlFactor: 1 },
    now: Date.now,
    used: () => {},
    fetched: () => {},
    bypassed: (_upstream, reason) => void bypassed.push(reason),
  });
  const quota = { state: "unlimited", rehearsal: undefined, worthAsking: () => false } as const;
  const served = { upstream, quota, whenExhausted: "hold", alternates: [] } as const;
  const pull = () => {
    const until = performance.now() + patienceMs;
    return manifests.get(served, shelf(0), tag, {
      client: "",
      userAgent: "",
      head: false,
      deadline: until,
      upstreamMs: 0,
    });
  };
  return { blobs, catalog, health, bypassed, pull };
}

const version = versionOf(0, 0);

it.each([
  ["EIO", "failing"],
  ["EUCLEAN", "failing"],
  ["EACCES", "failing"],
  ["EROFS", "failing"],
  ["ENOSPC", "full"],
] as const)(
  "a manifest that the disk refuses by %s is served, and held with the next pull",
  async (code, trouble) => {
    const { blobs, catalog, health, bypassed, pull } = await open();
    blobs.code = code;
    expect(await pull()).toMatchObject({ outcome: "miss", bytes: version.bytes });
    expect(bypassed).toEqual([trouble]);
    expect(health.trouble).toBe(trouble);
    expect(await catalog.manifest(shelf(0), version.digest)).toBeUndefined();
    blobs.code = undefined;
    expect(await pull()).toMatchObject({ outcome: "miss" });
    expect(await pull()).toMatchObject({ outcome: "hit", bytes: version.bytes });
  },
);

it("an error that is not the disk's is not taken for one", async () => {
  const { blobs, health, pull } = await open();
  blobs.code = "ERR_INTERNAL_ASSERTION";
  await expect(pull()).rejects.toMatchObject({ code: "ERR_INTERNAL_ASSERTION" });
  expect(health.trouble).toBeUndefined();
});
