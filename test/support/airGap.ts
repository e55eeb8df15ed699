/** Hubcap filled with images that are to cross an air gap, and `hubcap export` and `hubcap import` run on its store. */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, vi } from "vitest";
import { stringify } from "yaml";
import { ask } from "./ask.ts";
import { startHub, type Hub } from "./hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "./hubcap.ts";
import { buildArtifact, buildImage, type Bundle, type Image } from "./images.ts";
import { pullLikeContainerd } from "./pull.ts";
import { runHubcap, type Ended } from "./run.ts";
import { patience } from "./patience.ts";

export const platforms = ["linux/amd64", "linux/arm64"] as const;

export interface AirGap {
  readonly hub: Hub;
  /** It holds `library/app:1` with its signature, and `org/other:1` of ghcr.io. */
  readonly source: Hubcap;
  readonly app: Image;
  readonly signature: Bundle;
  readonly folder: string;
  /** Writes a configuration file for a store at `root`, with the stand-in as docker.io and as ghcr.io. */
  configured(root: string): Promise<string>;
  /** Exports from the source, and resolves with the path of the archive. */
  exported(name: string, ...args: string[]): Promise<string>;
  /** Fills a store of its own from an archive and starts Hubcap on it. */
  servedFrom(file: string, ...args: string[]): Promise<{ mirror: Hubcap; ended: Ended }>;
  close(): Promise<void>;
}

export async function openAirGap(): Promise<AirGap> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-airgap-"));
  const hub = await startHub({ limit: "unlimited" });
  const app = await buildImage({ seed: "app", sharedLayers: 1, layerBytes: 100_000 });
  const signature = buildArtifact({ artifactType: "application/vnd.test.signature", subject: app.root });
  hub.push(app, "library/app", "1");
  hub.push(signature, "library/app", "signature");
  hub.push(await buildImage({ seed: "other", sharedLayers: 1, type: "docker" }), "org/other", "1");
  const upstreams = { "docker.io": upstreamOf(hub), "ghcr.io": upstreamOf(hub) };
  const source = await startHubcap({ config: { upstreams } });
  for (const platform of platforms) {
    const pull = { mirror: source.url, reference: "1", platform };
    await pullLikeContainerd({ ...pull, ns: "docker.io", repository: "library/app" });
    await pullLikeContainerd({ ...pull, ns: "ghcr.io", repository: "org/other" });
  }
  await ask(`${source.url}/v2/library/app/manifests/${signature.root.digest}?ns=docker.io`);
  for (const digest of signature.blobs.keys()) {
    await ask(`${source.url}/v2/library/app/blobs/${digest}?ns=docker.io`);
  }
  // A client has its last byte before the blob is safe on disk.
  await vi.waitUntil(async () => (await source.metric("hubcap_cache_blobs")) === 19, patience);

  const configured = async (root: string): Promise<string> => {
    const file = `${root}.yaml`;
    await writeFile(file, stringify({ storage: { root }, upstreams }));
    return file;
  };
  return {
    hub,
    source,
    app,
    signature,
    folder,
    configured,
    async exported(name, ...args) {
      const file = join(folder, name);
      const config = await configured(source.root);
      const { code, errors } = await runHubcap(["export", "--config", config, "-o", file, ...args]);
      expect([code, code === 0 ? "" : errors]).toEqual([0, ""]);
      return file;
    },
    async servedFrom(file, ...args) {
      const mirror = await startHubcap({ config: { upstreams } });
      await mirror.stop();
      const ended = await runHubcap(["import", "--config", await configured(mirror.root), file, ...args]);
      await mirror.start();
      return { mirror, ended };
    },
    async close() {
      await source.dispose();
      await hub.stop();
    },
  };
}
