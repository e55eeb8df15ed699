/** Cases R20: a disk that does not write, does not sync, or has become read-only, injected at the store's own seam. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { allBytes } from "../../support/content.ts";
import { fsck } from "../../support/fsck.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { Reader, whole } from "../../support/reader.ts";

const source = "registry.example";
const preloaded = fileURLToPath(new URL("brokenDisk.ts", import.meta.url));

let folder: string;
let hub: Hub;
let hubcap: Hubcap;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-broken-"));
  hub = await startHub({ limit: "unlimited" });
  hubcap = await startHubcap({
    config: { upstreams: { [source]: upstreamOf(hub) }, defaultUpstream: source },
    env: { BROKEN_DISK: join(folder, "broken") },
    nodeArgs: ["--import", preloaded],
  });
});
afterEach(async () => {
  await hubcap.dispose();
  await hub.stop();
  await rm(folder, { recursive: true, force: true });
});

const broken = (what: string): Promise<void> => writeFile(join(folder, "broken"), what);
const mended = (): Promise<void> => rm(join(folder, "broken"));

async function readiness(): Promise<string> {
  const { status, body } = await ask(`${hubcap.statusUrl}/readyz`);
  return `${status} ${body.toString().trim()}`;
}

async function push(repository: string, layerBytes: number) {
  const image = await buildImage({ seed: repository, layers: 1, layerBytes, platforms: ["linux/amd64"] });
  hub.push(image, repository, "1");
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  const content = image.blobs.get(layer?.digest ?? "");
  if (!layer || !content) throw new Error("an image without a layer");
  const url = `${hubcap.url}/v2/${repository}/blobs/${layer.digest}?ns=${source}`;
  return { repository, url, bytes: await allBytes(content) };
}

async function pull(repository: string): Promise<readonly string[]> {
  const { errors } = await pullLikeContainerd({
    mirror: hubcap.url,
    ns: source,
    repository,
    reference: "1",
  });
  return errors;
}

describe("a disk that fails", () => {
  it("R20 on fsync: the fill has failed, its bytes are gone, and fsync is not tried again", async () => {
    const layer = await push("library/app", 300_000);
    await broken("sync EIO");
    // Its bytes were proven, so the client has them all.
    expect(await new Reader(layer.url, layer).ended).toEqual(whole(layer.bytes));
    await expect.poll(readiness).toBe("200 degraded: the disk is failing");
    expect(hubcap.errors.match(/sync failed/g)).toHaveLength(1);
    await expect.poll(() => readdir(join(hubcap.root, "ingest"))).toEqual([]);
    expect(await hubcap.metric("hubcap_fill_failures_total", { reason: "disk" })).toBe(1);

    expect(await new Reader(layer.url, layer).ended).toEqual(whole(layer.bytes));
    expect(await hubcap.metric("hubcap_bypass_total", { reason: "failing" })).toBe(1);
    expect(await fsck(hubcap)).toMatchObject({ code: 0 });

    await mended();
    await expect.poll(readiness).toBe("200 ok");
    expect(await pull(layer.repository)).toEqual([]);
    await expect
      .poll(async () => {
        hub.counts.reset();
        await pull(layer.repository);
        return hub.counts.blobGets.total;
      })
      .toBe(0);
  });

  it.each(["write EIO", "create EROFS", "rename EIO", "all ENOSPC"])(
    "by %s: images are pulled right all the same, and nothing wrong is kept",
    async (what) => {
      const held = await push("library/held", 200_000);
      expect(await pull(held.repository)).toEqual([]);
      await broken(what);
      // A large blob is cut if the disk fails under it; asked for again, it passes through.
      const layer = await push("library/app", 300_000);
      await new Reader(layer.url, layer).ended;
      expect(await new Reader(layer.url, layer).ended).toEqual(whole(layer.bytes));
      expect(await pull(layer.repository)).toEqual([]);
      const small = await push("library/small", 1000);
      expect(await pull(small.repository)).toEqual([]);
      expect(await pull(held.repository)).toEqual([]);
      expect(await readiness()).toMatch(/^200 degraded: the disk is (?:failing|full)$/);
      await mended();
      await expect.poll(readiness).toBe("200 ok");
      expect((await fsck(hubcap)).findings).toEqual([]);
    },
  );

  it("passes a whole blob to a client that asks for a part, and cuts one whose bytes are wrong", async () => {
    const layer = await push("library/app", 300_000);
    await broken("create EIO");
    const { status, headers, body } = await ask(layer.url, { headers: { range: "bytes=1000-1999" } });
    expect([status, headers["accept-ranges"], body.equals(layer.bytes)]).toEqual([200, "none", true]);
    hub.fault({ origin: "cdn", asks: "blob", kind: "flip", at: 10 });
    const wrong = await new Reader(layer.url, layer).ended;
    expect(wrong).toMatchObject({ status: 200, complete: false });
  });

  it("lets an upstream go whose client has left", async () => {
    const layer = await push("library/app", 8 * 1024 * 1024);
    await broken("create EIO");
    hub.fault({ origin: "cdn", asks: "blob", kind: "drip", bytesPerSecond: 1024 * 1024 });
    const reader = new Reader(layer.url, layer);
    await reader.reached(200_000);
    reader.leave();
    await hub.counts.when(({ origin, over, complete }) => origin === "cdn" && over && !complete);
  });
});
