/** What the demo shows: the stand-in for Docker Hub, Hubcap in front of it, nodes that pull, and their numbers. */
import { setTimeout as wait } from "node:timers/promises";
import type { Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import type { PullResult } from "../support/pullSession.ts";
import type { Snapshot } from "../../src/quota/snapshot.ts";

/** Sums of everything that was pulled, as the nodes and Hubcap count it. */
export interface Numbers {
  /** Images that nodes asked for. */
  readonly asked: number;
  /** Pulls that the upstream was asked for, in Hubcap's ledger. */
  readonly counted: number;
  /** Bytes of manifests and blobs. */
  readonly fetched: number;
  readonly served: number;
  /** Images that a node was refused. */
  readonly refused: number;
  /** Images that a node got though they could not be checked. */
  readonly stale: number;
  /** Images that went wrong in any other way. */
  readonly failed: number;
}

export class Setup {
  readonly hub: Hub;
  readonly hubcap: Hubcap;
  readonly #signal: AbortSignal;
  readonly #results: PullResult[] = [];

  constructor(hub: Hub, hubcap: Hubcap, signal: AbortSignal) {
    this.hub = hub;
    this.hubcap = hubcap;
    this.#signal = signal;
  }

  /** Puts `name:1` on the stand-in's shelf, with two layers. */
  async push(name: string, layerBytes: number): Promise<void> {
    this.hub.push(await buildImage({ seed: name, layers: 2, layerBytes }), name, "1");
  }

  /** Pulls `name:1` as the node's containerd does, once. */
  async pull(node: string, name: string): Promise<PullResult> {
    const result = await pullLikeContainerd({
      mirror: this.hubcap.url,
      ns: "docker.io",
      repository: name,
      reference: "1",
      headers: { "x-hubcap-node": node },
      attempts: 1,
      signal: this.#signal,
    });
    this.#signal.throwIfAborted();
    this.#results.push(result);
    return result;
  }

  /** Where the quota stands, as the page has it. */
  async quota(): Promise<Snapshot> {
    const { upstreams } = (await this.hubcap.status("/api/v1/quota")) as { upstreams: readonly Snapshot[] };
    const [quota] = upstreams;
    if (!quota) throw new Error("Hubcap knows no upstream");
    return quota;
  }

  /** Passes the time, unless the demo is ended meanwhile. */
  async pause(seconds: number): Promise<void> {
    await wait(seconds * 1000, undefined, { signal: this.#signal });
  }

  async numbers(): Promise<Numbers> {
    const results = this.#results;
    return {
      asked: results.length,
      counted: await this.hubcap.metric("hubcap_quota_spent_total"),
      fetched: await this.hubcap.metric("hubcap_fetched_bytes_total"),
      served: results.reduce((sum, { bytes }) => sum + bytes, 0),
      refused: results.filter(wasRefused).length,
      stale: results.filter(({ errors, warnings }) => errors.length === 0 && warnings.size > 0).length,
      failed: results.filter((result) => result.errors.length > 0 && !wasRefused(result)).length,
    };
  }
}

function wasRefused({ statuses }: PullResult): boolean {
  return (statuses[429] ?? 0) > 0;
}

/** Starts Hubcap in a folder of its own, in front of `hub`. Dispose of it when done. */
export function startDemoHubcap(hub: Hub): Promise<Hubcap> {
  return startHubcap({
    config: {
      // Each pull of a tag has it checked, so that two minutes are enough to see what happens when it cannot be.
      freshness: { tagTtl: "0s" },
      upstreams: { "docker.io": upstreamOf(hub) },
    },
  });
}
