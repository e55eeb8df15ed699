/** Hubcap in front of the stand-in, for the reliability tests: opened, filled with images, and looked at from outside. */
import { readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { vi } from "vitest";
import { ask, type AskOptions, type Reply } from "./ask.ts";
import { MovableClock } from "./clock.ts";
import { allBytes } from "./content.ts";
import { startHub, type Hub, type HubOptions } from "./hub.ts";
import { startHubcap, upstreamOf, type Hubcap, type LogLine, type WrittenConfig } from "./hubcap.ts";
import { buildImage, type ContentDescriptor, type Image, type ImageOptions } from "./images.ts";
import { Reader, type ReaderOptions } from "./reader.ts";
import { patience } from "./patience.ts";

export interface SetupOptions {
  readonly hub?: HubOptions;
  /** Settings of the upstream beside those that lead to the stand-in. */
  readonly upstream?: object;
  readonly config?: WrittenConfig;
}

/** An image at the stand-in, and the last layer of its first platform. */
export interface Pushed {
  readonly repository: string;
  readonly image: Image;
  readonly layer: ContentDescriptor;
  readonly bytes: Buffer;
}

/** A Hubcap in front of a stand-in for Docker Hub, and the clock of both. */
export class Setup {
  readonly hub: Hub;
  readonly hubcap: Hubcap;
  readonly #clock: MovableClock;

  constructor(hub: Hub, hubcap: Hubcap, clock: MovableClock) {
    this.hub = hub;
    this.hubcap = hubcap;
    this.#clock = clock;
  }

  /** Pushes an image as `repository:1`. */
  async push(repository: string, options: ImageOptions = {}): Promise<Pushed> {
    const image = await buildImage({ seed: repository, ...options });
    this.hub.push(image, repository, "1");
    const layer = [...image.platforms.values()][0]?.layers.at(-1);
    const content = image.blobs.get(layer?.digest ?? "");
    if (layer === undefined || content === undefined) throw new Error("an image without a layer");
    return { repository, image, layer, bytes: await allBytes(content) };
  }

  /** Pushes an image of one layer with `bytes` bytes of payload. */
  pushLayer(repository: string, bytes: number): Promise<Pushed> {
    return this.push(repository, { layers: 1, layerBytes: bytes, platforms: ["linux/amd64"] });
  }

  /** Pulls the image's manifests, so that Hubcap knows what its layer is for. */
  async name({ repository, image }: Pushed): Promise<void> {
    for (const digest of image.manifests.keys()) await this.manifest(repository, digest);
  }

  blobUrl({ repository, layer }: Pushed): string {
    return `${this.hubcap.url}/v2/${repository}/blobs/${layer.digest}?ns=docker.io`;
  }

  /** A client that pulls the layer. */
  read(pushed: Pushed, options: Omit<ReaderOptions, "bytes"> = {}): Reader {
    return new Reader(this.blobUrl(pushed), { bytes: pushed.bytes, ...options });
  }

  /** Asks for a manifest, of docker.io unless another source host is named. */
  manifest(
    repository: string,
    reference: string,
    options: AskOptions & { readonly ns?: string } = {},
  ): Promise<Reply> {
    const { ns = "docker.io", ...rest } = options;
    return ask(`${this.hubcap.url}/v2/${repository}/manifests/${reference}?ns=${ns}`, {
      headerTimeout: 60_000,
      ...rest,
    });
  }

  /** Moves Hubcap's clock ahead; its timers stay as they are. */
  advance(ms: number): Promise<void> {
    return this.#clock.advance(this.hubcap, ms);
  }

  /** Starts Hubcap again. A moved clock is back at the system's time. */
  async restart(config?: WrittenConfig): Promise<void> {
    this.#clock.reset();
    await this.hubcap.restart(config);
  }

  /** What was logged of the GETs of the layer, in the order in which they ended. */
  pulls({ layer }: Pushed): LogLine[] {
    return this.hubcap
      .logs()
      .filter((line) => line["reference"] === layer.digest && line["method"] === "GET");
  }

  /** How the first `count` GETs of the layer were answered, as soon as they are over. */
  async outcomes(pushed: Pushed, count: number): Promise<unknown[]> {
    await vi.waitUntil(() => this.pulls(pushed).length >= count, patience);
    return this.pulls(pushed).map((line) => line["outcome"]);
  }

  /** Resolves when Hubcap holds the layer. */
  async held(pushed: Pushed): Promise<void> {
    await vi.waitUntil(async () => {
      await ask(this.blobUrl(pushed), { method: "HEAD" });
      const lines = this.hubcap.logs().filter((line) => line["reference"] === pushed.layer.digest);
      return lines.findLast((line) => line["method"] === "HEAD")?.["outcome"] === "hit";
    }, patience);
  }

  /** The blobs, whole or growing, that Hubcap has open (Linux). */
  async openBlobs(): Promise<string[]> {
    const targets = await this.#openFiles();
    return targets.filter((target) => /\/(?:blobs|ingest)\//.test(target));
  }

  /** Hubcap's connections, those to upstreams and those that clients keep for later among them (Linux). */
  async connections(): Promise<number> {
    return (await this.#openFiles()).filter((target) => target.startsWith("socket:")).length;
  }

  async #openFiles(): Promise<string[]> {
    const folder = `/proc/${this.hubcap.pid}/fd`;
    const names = await readdir(folder);
    // One that was closed meanwhile leads nowhere.
    return Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => "")));
  }

  async close(): Promise<void> {
    await this.hubcap.dispose();
    await this.hub.stop();
    await this.#clock.dispose();
  }
}

/** Opens a setup: docker.io is the stand-in, without a limit by default. Close it when done. */
export async function openSetup(options: SetupOptions = {}): Promise<Setup> {
  const hub = await startHub({ limit: "unlimited", ...options.hub });
  const clock = await MovableClock.make("wall");
  try {
    const hubcap = await startHubcap({
      config: {
        upstreams: { "docker.io": upstreamOf(hub, options.upstream) },
        ...options.config,
      },
      ...clock.start,
    });
    return new Setup(hub, hubcap, clock);
  } catch (error) {
    await hub.stop();
    throw error;
  }
}
