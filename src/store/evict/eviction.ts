/** The keeper of the cache: counts uses, makes room, tidies up, and tells what is held. Works in the background until closed. */
import type { Pattern } from "../../oci/pattern.ts";
import type { Blobs } from "../blobs.ts";
import { Candidates, type EvictionReason, type ShownImage } from "./candidates.ts";
import { Evictor, type Evicted } from "./evict.ts";
import { metadataLimits, type MetadataExpiry } from "../catalog.ts";
import type { HeldImage, Inventory, Totals } from "../catalog.ts";
import type { Pins } from "./pins.ts";
import { DryRun, Removal } from "./remover.ts";
import { Room, type CapacityMarks } from "./room.ts";
import type { RetentionRule } from "./retention.ts";
import { LastUses } from "./uses.ts";

export interface EvictionOptions {
  readonly inventory: Inventory;
  readonly blobs: Pick<Blobs, "remove">;
  readonly hearsay: MetadataExpiry;
  /** How long lists may be served that their upstream cannot confirm, in ms. */
  readonly listAgeMs: number;
  readonly marks: CapacityMarks;
  /** Bytes of blobs that an earlier process had begun. */
  readonly leftovers: () => number;
  readonly pins: Pins;
  readonly retention: readonly RetentionRule[];
  /** Waits until the disk has taken what was written so far. */
  readonly rest: () => Promise<void>;
  /** Told of every batch of bytes that was let go of. */
  readonly evicted: (reason: EvictionReason, bytes: number) => void;
  /** Told why work in the background came to nothing; it is tried again. */
  readonly failed: (error: unknown) => void;
  readonly now?: () => number;
}

/** How long an image is kept after its last use, and a blob that no manifest names, in ms: longer than a pull takes. */
export const graceMs = 10 * 60_000;

const flushEveryMs = 10_000;
const tidyEveryMs = 10 * 60_000;

export class Eviction {
  readonly uses: LastUses;
  readonly room: Room;
  readonly pins: Pins;
  readonly inventory: Inventory;
  readonly #marks: CapacityMarks;
  readonly #evictor: Evictor;
  readonly #candidates: Candidates;
  readonly #rest: () => Promise<void>;
  readonly #failed: (error: unknown) => void;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #sweep: () => Promise<number>;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor({
    inventory,
    blobs,
    hearsay,
    listAgeMs,
    marks,
    leftovers,
    pins,
    retention,
    rest,
    evicted,
    failed,
    now = Date.now,
  }: EvictionOptions) {
    this.inventory = inventory;
    this.uses = new LastUses(inventory, now);
    this.pins = pins;
    this.#marks = marks;
    this.#failed = failed;
    this.#rest = rest;
    this.#sweep = () => hearsay.sweep(now(), { ...metadataLimits, listAgeMs });
    this.#candidates = new Candidates({
      inventory,
      pins: () => pins.patterns(),
      retention,
      now,
      graceMs,
      signal: this.#closing.signal,
    });
    this.#evictor = new Evictor({
      inventory,
      candidates: this.#candidates,
      hand: new Removal({
        inventory,
        blobs,
        candidates: this.#candidates,
        rest,
        evicted: (reason, bytes) => {
          evicted(reason, bytes);
          this.room.freed().catch(failed);
        },
        signal: this.#closing.signal,
      }),
      settle: () => this.uses.flush(),
      now,
      graceMs,
    });
    this.room = new Room({
      marks,
      leftovers,
      held: async () => (await this.totals()).bytes,
      makeRoom: (goal) => this.#run(() => this.#evictor.makeRoom(goal)),
    });
  }

  get capacity(): number {
    return this.#marks.capacity;
  }

  totals(): Promise<Totals> {
    return this.inventory.totals();
  }

  oldestUse(): Promise<number | undefined> {
    return this.inventory.oldestUse();
  }

  /** Images that are no part of another, by name, after `after`; with all that goes with each. */
  images(after: Pick<HeldImage, "repository" | "digest"> | undefined): AsyncIterable<ShownImage> {
    return this.#candidates.wholes(after);
  }

  /** Begins to work in the background. */
  start(): void {
    this.#every(flushEveryMs, async () => {
      await this.uses.flush();
      await this.room.ebb();
    });
    // On its own: a disk that takes no more writes is one whose log should not stay long.
    this.#every(flushEveryMs, () => this.#rest());
    this.#every(tidyEveryMs, () => this.#evictor.tidy());
    this.#every(tidyEveryMs, () => this.forgetHearsay());
  }

  /** Does now what would be done in the background; or, as a rehearsal, only tells what that would be. */
  evict(each: (gone: Evicted) => void, rehearse: boolean): Promise<void> {
    return this.#run(() => this.#evict(each, rehearse));
  }

  async #evict(each: (gone: Evicted) => void, rehearse: boolean): Promise<void> {
    const hand = rehearse ? this.#rehearsal() : undefined;
    await this.#evictor.tidy(each, hand);
    const { high, low } = this.#marks;
    if ((await this.totals()).bytes <= high) return;
    if (hand) await this.#evictor.rehearse(low, each, hand);
    else await this.#evictor.makeRoom(low, each);
  }

  /** Lets go of the images that `pattern` names and no pin keeps; or only tells which they are. */
  async remove(pattern: Pattern, each: (gone: Evicted) => void, rehearse: boolean): Promise<void> {
    const hand = rehearse ? this.#rehearsal() : undefined;
    await this.#run(() => this.#evictor.remove(pattern, each, hand));
  }

  /** Lets go of what upstreams have only said, as far as it is too old or too much. */
  async forgetHearsay(): Promise<void> {
    while ((await this.#sweep()) > 0) {
      this.#closing.signal.throwIfAborted();
      await new Promise(setImmediate);
    }
  }

  /** Stops all work, waits until it has stopped, and writes what was noted. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#closing.abort();
    await Promise.allSettled(this.#running);
    await this.uses.flush().catch(this.#failed);
  }

  #rehearsal(): DryRun {
    return new DryRun({ inventory: this.inventory, candidates: this.#candidates });
  }

  #every(ms: number, work: () => Promise<void>): void {
    const turn = (): void => {
      this.#run(work).catch((error: unknown) => {
        if (!this.#closing.signal.aborted) this.#failed(error);
      });
    };
    this.#timers.push(setInterval(turn, ms).unref());
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
