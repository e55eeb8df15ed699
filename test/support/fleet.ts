/** Nodes that pull through Hubcap from the stand-in, all by one clock: for tests of what is spent, and by whom. */
import { request } from "node:http";
import { join } from "node:path";
import Database from "better-sqlite3";
import { vi } from "vitest";
import { ask, type AskOptions, type Reply } from "./ask.ts";
import { MovableClock } from "./clock.ts";
import { startHub, type Hub, type HubOptions } from "./hub.ts";
import { startHubcap, upstreamOf, type Hubcap, type WrittenConfig } from "./hubcap.ts";
import { buildImage, type Image, type ImageOptions } from "./images.ts";
import { pullLikeContainerd, type PullOptions } from "./pull.ts";
import type { PullResult } from "./pullSession.ts";
import { patience } from "./patience.ts";

export interface FleetOptions {
  readonly hub?: HubOptions;
  /** Settings of docker.io beside those that lead to the stand-in. */
  readonly upstream?: object;
  /** Upstreams beside docker.io. */
  readonly others?: Readonly<Record<string, object>>;
  readonly config?: WrittenConfig;
}

/** One line of what the status API says was spent. */
export interface Spent {
  readonly key: string;
  readonly spent: number;
}

const states = ["ok", "low", "reserve", "exhausted", "unlimited", "unknown"];

export class Fleet {
  readonly hub: Hub;
  readonly hubcap: Hubcap;
  readonly #clock: MovableClock;

  constructor(hub: Hub, hubcap: Hubcap, clock: MovableClock) {
    this.hub = hub;
    this.hubcap = hubcap;
    this.#clock = clock;
  }

  /** Has time pass, for the stand-in and for Hubcap, whose timers stay as they are. */
  async pass(seconds: number): Promise<void> {
    this.hub.advance(seconds * 1000);
    await this.#clock.advance(this.hubcap, seconds * 1000);
  }

  /** Pushes a small image, an index of two platforms, as `repository:1`. */
  async push(repository: string, options: ImageOptions = {}): Promise<Image> {
    const image = await buildImage({ seed: repository, layers: 1, layerBytes: 256, ...options });
    this.hub.push(image, repository, "1");
    return image;
  }

  /** Pulls `repository:1` as a node's containerd does. */
  pull(node: string, repository: string, options: Partial<PullOptions> = {}): Promise<PullResult> {
    return pullLikeContainerd({
      mirror: this.hubcap.url,
      ns: "docker.io",
      repository,
      reference: "1",
      headers: { "x-hubcap-node": node },
      ...options,
    });
  }

  /** Pulls `repository:1`, and waits until all of it is held: what a client has got is safe on disk a moment later. */
  async hold(node: string, repository: string): Promise<void> {
    const { errors, digests } = await this.pull(node, repository);
    if (errors.length > 0) throw new Error(errors.join("; "));
    await vi.waitUntil(() => digests.every((digest) => this.#isHeld(repository, digest)), patience);
  }

  /** Asks for a manifest, once. */
  manifest(repository: string, reference: string, options: AskOptions = {}): Promise<Reply> {
    return this.#get(`${repository}/manifests/${reference}`, options);
  }

  /** Asks for a blob, once. */
  blob(repository: string, digest: string, options: AskOptions = {}): Promise<Reply> {
    return this.#get(`${repository}/blobs/${digest}`, options);
  }

  #get(path: string, options: AskOptions): Promise<Reply> {
    return ask(`${this.hubcap.url}/v2/${path}?ns=docker.io`, { headerTimeout: 60_000, ...options });
  }

  /** Starts a HEAD of `repository:1`. `taken` settles when Hubcap has read it, `digest` when it has answered. */
  head(repository: string): { readonly taken: Promise<void>; readonly digest: Promise<string | undefined> } {
    const taken = Promise.withResolvers<void>();
    const digest = Promise.withResolvers<string | undefined>();
    const url = `${this.hubcap.url}/v2/${repository}/manifests/1?ns=docker.io`;
    // Node says "continue" in the moment in which it hands the request on.
    const sent = request(url, { method: "HEAD", agent: false, headers: { expect: "100-continue" } });
    sent.once("continue", () => taken.resolve());
    sent.once("response", (response) => {
      response.resume();
      digest.resolve(response.headersDistinct["docker-content-digest"]?.[0]);
    });
    sent.once("error", (error) => {
      taken.reject(error);
      digest.reject(error);
    });
    sent.end();
    return { taken: taken.promise, digest: digest.promise };
  }

  /** The degradation step that the metrics show for docker.io. */
  async state(): Promise<string> {
    const shown: string[] = [];
    for (const state of states) {
      const labels = { upstream: "docker.io", state };
      if ((await this.hubcap.metric("hubcap_quota_state", labels)) === 1) shown.push(state);
    }
    return shown.join(" and ");
  }

  /** The degradation steps of docker.io that the log announces, in the order in which they were taken. */
  announced(): unknown[] {
    return this.hubcap
      .logs()
      .filter((line) => String(line["msg"]).startsWith("quota of docker.io is "))
      .map((line) => line["to"]);
  }

  /** What the status API says was spent at docker.io, most first. */
  async spent(by: "client" | "repository" | "reason"): Promise<readonly Spent[]> {
    const path = `/api/v1/quota/spend?by=${by}&upstream=docker.io&since=7d`;
    const { rows } = (await this.hubcap.status(path)) as { readonly rows: readonly Spent[] };
    return rows.map(({ key, spent }) => ({ key, spent })).filter(({ spent }) => spent > 0);
  }

  /** The alternate that said what `repository:1` of docker.io means; null when that was the upstream itself. */
  tagAlternate(repository: string): unknown {
    return this.#read((database) =>
      database
        .prepare("SELECT alternate FROM tag WHERE upstream = 'docker.io' AND repository = ? AND tag = '1'")
        .pluck()
        .get(repository),
    );
  }

  #isHeld(repository: string, digest: string): boolean {
    const held = "SELECT 1 FROM held WHERE upstream = 'docker.io' AND repository = ? AND digest = ?";
    return this.#read((database) => database.prepare(held).get(repository, digest)) !== undefined;
  }

  #read<T>(query: (database: Database.Database) => T): T {
    const database = new Database(join(this.hubcap.root, "catalog.sqlite"), { readonly: true });
    try {
      return query(database);
    } finally {
      database.close();
    }
  }

  /**
   * Ends Hubcap as a power cut would, and starts it again: for how many seconds nothing ran. A clock that was moved is back
   * at the system's time.
   */
  async crash(): Promise<number> {
    const before = performance.now();
    await this.hubcap.kill9();
    await this.hubcap.start();
    return (performance.now() - before) / 1000;
  }

  async close(): Promise<void> {
    await this.hubcap.dispose();
    await this.hub.stop();
    await this.#clock.dispose();
  }
}

/** Opens a fleet: docker.io is the stand-in. Close it when done. */
export async function openFleet(options: FleetOptions = {}): Promise<Fleet> {
  const hub = await startHub(options.hub);
  const clock = await MovableClock.make("both");
  try {
    const hubcap = await startHubcap({
      config: {
        ...options.config,
        upstreams: { "docker.io": upstreamOf(hub, options.upstream), ...options.others },
      },
      ...clock.start,
    });
    return new Fleet(hub, hubcap, clock);
  } catch (error) {
    await hub.stop();
    throw error;
  }
}

/** Does `work` for every item, for so many at a time. */
export async function inTurns<T, R>(
  items: readonly T[],
  atATime: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const waiting = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of waiting) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
  return results;
}
