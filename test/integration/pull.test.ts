/** Runtimes pull through Hubcap, request by request as they do it: right bytes, each fetched once, and all of it on record. */
import { Agent } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask } from "../support/ask.ts";
import { bytesContent, digestOf } from "../support/content.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { pullLikeContainerd, pullLikeDocker, pullLikePodman, type PullOptions } from "../support/pull.ts";

const repository = "library/app";

let hub: Hub;
let hubcap: Hubcap;

/** How long something that is bound to happen is waited for. */

/** Whether Hubcap answers for a blob by itself. */
async function isHeld(url: string): Promise<boolean> {
  await ask(url, { method: "HEAD" });
  return hubcap.logs().findLast((line) => line["method"] === "HEAD")?.["outcome"] === "hit";
}

const runtimes = [
  ["containerd", pullLikeContainerd, { ns: "docker.io", repository }],
  ["Docker", pullLikeDocker, { repository }],
  ["podman", pullLikePodman, { repository: `docker.io/${repository}` }],
] as const;

// What runtimes see does not depend on how many processes answer.
describe.each([1, 2])("with %i processes,", (workers) => {
  beforeEach(async () => {
    hub = await startHub();
    hubcap = await startHubcap({ config: { workers, upstreams: { "docker.io": upstreamOf(hub) } } });
  });
  afterEach(async () => {
    await hubcap.dispose();
    await hub.stop();
  });

  describe("a pull", () => {
    it.for(runtimes)(
      "by %s brings the image that the upstream has, and costs two manifests",
      async ([, pull, name]) => {
        const image = await buildImage({ seed: "pull", type: "docker", attestations: true });
        hub.push(image, repository, "1");
        const options: PullOptions = { mirror: hubcap.url, reference: "1", ...name };
        const first = await pull(options);
        const { manifest, config, layers } = image.platforms.get("linux/amd64") ?? {};
        expect(first.errors).toEqual([]);
        expect(first).toMatchObject({
          root: image.root.digest,
          manifest: manifest?.digest,
          imageId: config?.digest,
        });
        expect(hub.counts.charged.byDigest).toEqual({ [image.root.digest]: 1, [manifest?.digest ?? ""]: 1 });
        const blobs = [config, ...(layers ?? [])].map((blob) => [blob?.digest, 1]);
        expect(hub.counts.cdnGets.byDigest).toEqual(Object.fromEntries(blobs));

        hub.counts.reset();
        const second = await pull(options);
        expect(second.errors).toEqual([]);
        expect(second.digests.toSorted()).toEqual(first.digests.toSorted());
        expect(hub.counts.requests).toEqual([]);
      },
    );

    it("by one runtime serves all others", async () => {
      const image = await buildImage({ seed: "shared" });
      hub.push(image, repository, "1");
      await pullLikeContainerd({ mirror: hubcap.url, reference: "1", ns: "docker.io", repository });
      hub.counts.reset();
      for (const [, pull, name] of runtimes) {
        const { errors, root } = await pull({ mirror: hubcap.url, reference: "1", ...name });
        expect({ errors, root }).toEqual({ errors: [], root: image.root.digest });
      }
      expect(hub.counts.requests).toEqual([]);
    });

    it("of a blob without a byte ends like any other, uncached and held, and the connection goes on", async () => {
      const digest = digestOf("");
      const image = await buildImage();
      hub.push({ ...image, blobs: new Map([[digest, bytesContent("")]]) }, repository, "1");
      const url = `${hubcap.url}/v2/${repository}/blobs/${digest}`;
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      const pull = async (): Promise<unknown> => {
        const { status, headers } = await ask(url, { agent, headerTimeout: 60_000 });
        return { status, size: headers["content-length"] };
      };
      const empty = { status: 200, size: "0" };
      expect(await pull()).toEqual(empty);
      await expect.poll(() => isHeld(url)).toBe(true);
      expect([await pull(), await pull(), await pull()]).toEqual([empty, empty, empty]);
      agent.destroy();
    });
  });

  describe("on record", () => {
    it("is each request: what was asked for, how it was answered, and what it cost", async () => {
      const image = await buildImage({ seed: "observed", layers: 1, platforms: ["linux/amd64"] });
      hub.push(image, repository, "1");
      const { digest = "", size = 0 } = image.platforms.get("linux/amd64")?.layers[0] ?? {};
      const url = `${hubcap.url}/v2/${repository}/blobs/${digest}`;
      for (const outcome of ["miss", "hit"]) {
        await ask(url, { headers: { "x-hubcap-node": "node-1" } });
        const line = await hubcap.logged((line) => line["outcome"] === outcome && line["method"] === "GET");
        expect(line).toMatchObject({
          kind: "blob",
          method: "GET",
          upstream: "docker.io",
          repository: `docker.io/${repository}`,
          reference: digest,
          client: "node-1",
          status: 200,
        });
        expect(line["bytes"]).toBeGreaterThanOrEqual(size);
        const labels = { upstream: "docker.io", kind: "blob", outcome };
        expect(await hubcap.metric("hubcap_requests_total", labels)).toBeGreaterThanOrEqual(1);
        expect(
          await hubcap.metric("hubcap_request_seconds_count", { kind: "blob", outcome }),
        ).toBeGreaterThan(0);
        expect(await hubcap.metric("hubcap_served_bytes_total", { outcome })).toBeGreaterThanOrEqual(size);
        await expect.poll(() => isHeld(url)).toBe(true);
      }
      expect(await hubcap.metric("hubcap_fetched_bytes_total")).toBe(size);
      expect(await hubcap.metric("hubcap_upstream_requests_total", { kind: "blob", status: "307" })).toBe(1);
    });

    it("is how many blobs are on their way in", async () => {
      const image = await buildImage({
        seed: "running",
        layers: 1,
        layerBytes: 1e6,
        platforms: ["linux/amd64"],
      });
      hub.push(image, repository, "1");
      const layer = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
      const half = hub.fault({ origin: "cdn", digest: layer, kind: "stall", after: 500_000 });
      const running = (): Promise<number> => hubcap.metric("hubcap_fills_running");
      const pull = pullLikeContainerd({ mirror: hubcap.url, reference: "1", repository });
      await half.held();
      await expect.poll(running).toBe(1);
      half.release();
      expect((await pull).errors).toEqual([]);
      await expect.poll(running).toBe(0);
    });
  });
});
