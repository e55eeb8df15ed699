/** What a catalog that cannot be written does to pulls of blobs: nothing. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { expect, it } from "vitest";
import { patienceMs, type Ask } from "../../../src/mirror/ask.ts";
import { Inquiries } from "../../../src/mirror/inquiry.ts";
import { Layers } from "../../../src/mirror/layers.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import type { Repository } from "../../../src/oci/reference.ts";
import { Custody } from "../../../src/store/custody.ts";
import { Fills } from "../../../src/store/fill.ts";
import { Health } from "../../../src/store/health.ts";
import { Intake } from "../../../src/store/intake.ts";
import { FakeBlobs } from "../../support/fakeBlobs.ts";
import { FakeCatalog } from "../../support/fakeCatalog.ts";
import { shelf, ShelfUpstream, versionOf } from "../../support/shelfUpstream.ts";

class FullCatalog extends FakeCatalog {
  override async link(repository: Repository, digest: Digest): Promise<void> {
    if (repository.name === shelf(1).name) throw new Error("database or disk is full");
    await super.link(repository, digest);
  }
}

function ask(): Ask {
  return { client: "node", userAgent: "", head: false, until: performance.now() + patienceMs, upstreamMs: 0 };
}

it("serves a blob to a second repository although the row for it cannot be written", async () => {
  const upstream = new ShelfUpstream();
  upstream.push(0, versionOf(0, 0));
  upstream.push(1, versionOf(1, 0));
  const [catalog, blobs, fills] = [new FullCatalog(), new FakeBlobs(), new Fills()];
  const root = await mkdtemp(join(tmpdir(), "hubcap-layers-"));
  const health = new Health({ root, minFree: 0, changed: () => {} });
  const layers = new Layers({
    catalog,
    blobs,
    fills,
    health,
    custody: new Custody({ blobs, catalog }),
    intake: new Intake({ blobs, fills, health, room: { reserve: async () => ({ release: () => {} }) } }),
    inquiries: new Inquiries(new AbortController().signal, Date.now),
    fetched: () => {},
    failed: () => {},
    bypassed: () => {},
  });
  const quota = { state: "unlimited", rehearsal: undefined, worthAsking: () => false } as const;
  const served = { upstream, quota, whenExhausted: "hold", alternates: [] } as const;
  const [shared] = versionOf(0, 0).blobs.keys();
  if (!shared) throw new Error("no layer is shared");
  const answers = await Promise.all([
    layers.get(served, shelf(0), shared, ask()),
    layers.get(served, shelf(1), shared, ask()),
  ]);
  for (const { content } of answers) {
    if (!content) throw new Error("no content");
    expect(await buffer(content.stream())).toHaveLength(1000);
  }
  await fills.idle();
  // A rejection that nobody handles fails the run.
  await new Promise(setImmediate);
});
