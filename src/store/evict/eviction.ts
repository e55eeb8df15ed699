/** Keeps the cache within its capacity: use counts, space for fills, eviction, old metadata. Works in the background until closed. */
import type { Clock } from "../../async/clock.ts";
import type { Pattern } from "../../oci/pattern.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Blobs } from "../blobs.ts";
import {
  metadataLimits,
  type HeldImage,
  type Inventory,
  type MetadataExpiry,
  type Totals,
} from "../catalog.ts";
import { Candidates, type EvictionReason, type ShownImage } from "./candidates.ts";
import { forgetLasting, lastingLimits, type LastingTable } from "./lasting.ts";
import { Evictor, type Evicted } from "./evict.ts";
import type { Pins } from "./pins.ts";
import { DiskSpace, type CapacityMarks } from "./space.ts";
import type { RetentionRule } from "./retention.ts";
import { LastUses } from "./uses.ts";

export interface EvictionOptions {
  readonly inventory: Inventory;
  readonly blobs: Pick<Blobs, "remove">;
  readonly metadata: MetadataExpiry;
  /** Tables of rows that outlive what they are about. */
  readonly lasting: readonly LastingTable[];
  /** How long lists may be served that their upstream cannot confirm, in ms. */
  readonly listAgeMs: number;
  readonly marks: CapacityMarks;
  /** Bytes of fills that an earlier process did not finish. */
  readonly leftovers: () => number;
  readonly pins: Pins;
  readonly retention: readonly RetentionRule[];
  /** Waits until the disk has taken what was written so far. */
  readonly rest: () => Promise<void>;
  /** Called for every batch of bytes that was evicted. */
  readonly evicted: (reason: EvictionReason, bytes: number) => void;
  /** Called with how many rows of a table were forgotten, for their age or because they were too many. */
  readonly forgotten: (table: LastingTable["name"], rows: number) => void;
  /** Called when work in the background failed; it is tried again. */
  readonly failed: (error: unknown) => void;
  readonly clock: Clock;
}

/** How long an image is kept after its last use, and a blob that no manifest names, in ms: longer than a pull takes. */
export const graceMs = 10 * 60_000;

const flushEveryMs = 10_000;
const tidyEveryMs = 10 * 60_000;

export class Eviction {
  readonly uses: LastUses;
  readonly space: DiskSpace;
  readonly pins: Pins;
  readonly inventory: Inventory;
  readonly #marks: CapacityMarks;
  readonly #evictor: Evictor;
  readonly #candidates: Candidates;
  readonly #rest: () => Promise<void>;
  readonly #failed: (error: unknown) => void;
  readonly #clock: Clock;
  readonly #expireSome: () => Promise<number>;
  readonly #forgetLasting: () => Promise<void>;
  /** Stops the timers. */
  readonly #stops: (() => void)[] = [];
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor({
    inventory,
    blobs,
    metadata,
    lasting,
    listAgeMs,
    marks,
    leftovers,
    pins,
    retention,
    rest,
    evicted,
    forgotten,
    failed,
    clock,
  }: EvictionOptions) {
    const now = (): number => clock.now();
    const { signal } = this.#closing;
    this.#clock = clock;
    this.inventory = inventory;
    this.uses = new LastUses(inventory, now);
    this.pins = pins;
    this.#marks = marks;
    this.#failed = failed;
    this.#rest = rest;
    this.#expireSome = () => metadata.sweep(now(), { ...metadataLimits, listAgeMs });
    this.#forgetLasting = async () => {
      for (const table of lasting) {
        forgotten(
          table.name,
          await forgetLasting(table, lastingLimits[table.name], inventory, now(), signal),
        );
      }
    };
    const patterns = (): Iterable<Pattern> => pins.patterns();
    this.#candidates = new Candidates({ inventory, pins: patterns, retention, now, graceMs, signal });
    this.#evictor = new Evictor({
      inventory,
      blobs,
      candidates: this.#candidates,
      uses: this.uses,
      rest,
      freed: (reason, bytes) => {
        evicted(reason, bytes);
        this.space.freed().catch(failed);
      },
      now,
      graceMs,
      signal,
    });
    this.space = new DiskSpace({
      marks,
      leftovers,
      held: () => inventory.occupied(),
      unnamed: () => inventory.orphanBytes(),
      makeSpace: (goal) => this.#run(() => this.#evictor.makeSpace(goal)),
      mayFree: (bytes) => this.#run(() => this.#evictor.mayFree(bytes)),
    });
  }

  get capacity(): number {
    return this.#marks.capacity;
  }

  /** Does a manifest that is held name this blob? */
  async isNamed(digest: Digest): Promise<boolean> {
    return !(await this.inventory.neededOnlyBy(digest, new Set()));
  }

  totals(): Promise<Totals> {
    return this.inventory.totals();
  }

  oldestUse(): Promise<number | undefined> {
    return this.inventory.oldestUse();
  }

  /** Images that are no part of another, by name, after `after`. */
  images(after: Pick<HeldImage, "repository" | "digest"> | undefined): AsyncIterable<ShownImage> {
    return this.#candidates.list(after);
  }

  /** Begins the work in the background. */
  start(): void {
    this.#every(flushEveryMs, async () => {
      await this.uses.flush();
      await this.space.trim();
    });
    // By itself: the database's log must be checkpointed even when nothing else can be written.
    this.#every(flushEveryMs, () => this.#rest());
    this.#every(tidyEveryMs, () => this.#evictor.tidy());
    this.#every(tidyEveryMs, () => this.#expireMetadata());
  }

  /** Evicts now what would be evicted in the background; a dry run only reports what that would be. */
  evict(each: (evicted: Evicted) => void, dryRun: boolean): Promise<void> {
    return this.#run(() => this.#evictor.evict(this.#marks, dryRun, each));
  }

  /** Evicts the images that `pattern` names and no pin keeps; a dry run only reports which they are. */
  remove(pattern: Pattern, each: (evicted: Evicted) => void, dryRun: boolean): Promise<void> {
    return this.#run(() => this.#evictor.remove(pattern, dryRun, each));
  }

  /** Stops all work, waits until it has stopped, and writes what was noted. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#closing.abort();
    await Promise.allSettled(this.#running);
    await this.uses.flush().catch(this.#failed);
  }

  async #expireMetadata(): Promise<void> {
    while ((await this.#expireSome()) > 0) {
      this.#closing.signal.throwIfAborted();
      await new Promise(setImmediate);
    }
    await this.#forgetLasting();
  }

  #every(ms: number, work: () => Promise<void>): void {
    const run = (): void => {
      this.#run(work).catch((error: unknown) => {
        if (!this.#closing.signal.aborted) this.#failed(error);
      });
    };
    this.#stops.push(this.#clock.every(ms, run));
  }

  /** Work that closing waits for. */
  async #run<T>(work: () => Promise<T>): Promise<T> {
    this.#closing.signal.throwIfAborted();
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }
}
