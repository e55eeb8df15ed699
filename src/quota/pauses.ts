/** What holds requests back for a time: an upstream's 429s, and rehearsals. Times are the ledger clock's. */
import type { RehearsalMode } from "./snapshot.ts";

/** The least pause after a 429 about requests of any kind: what Docker Hub asks for when it names a time. */
const abusePauseMs = 60_000;
/** The pause after any other 429 that names none. */
const unnamedPauseMs = 10_000;
/** A pause shorter than this would send all waiting requests into the next 429. */
const shortestPauseMs = 1000;
/** No upstream can pause us for longer. */
const longestPauseMs = 24 * 60 * 60 * 1000;

/** A 429. `retryAfterMs` is undefined where it names no time. */
interface RateLimited {
  /** It is about the pulls of a window, not about the rate of requests. */
  readonly isPulls: boolean;
  readonly isAbuse: boolean;
  readonly retryAfterMs: number | undefined;
}

/** What 429s held back when the last process ended; 0 is nothing. */
export interface SavedPauses {
  readonly pausedUntil: number;
  readonly emptyUntil: number;
}

export class Pauses {
  #emptyUntil: number;
  #pausedUntil = 0;
  /** After too many requests of any kind, which are counted by address, whatever account sends them. */
  #abusedUntil: number;
  readonly #beside: Pauses | undefined;
  #rehearsal: { readonly mode: RehearsalMode; readonly until: number } | undefined;

  /** `beside` are those of a bucket whose requests come from the same address. */
  constructor({ pausedUntil, emptyUntil }: SavedPauses, beside?: Pauses) {
    // Which kind of pause it was is not saved: it holds for the address.
    this.#abusedUntil = pausedUntil;
    this.#emptyUntil = emptyUntil;
    this.#beside = beside;
  }

  limited({ isPulls, isAbuse, retryAfterMs }: RateLimited, now: number): void {
    if (isPulls) {
      const ms = Math.min(retryAfterMs ?? 0, longestPauseMs);
      this.#emptyUntil = Math.max(this.#emptyUntil, now + ms);
      return;
    }
    const least = isAbuse ? abusePauseMs : retryAfterMs === undefined ? unnamedPauseMs : shortestPauseMs;
    const ms = Math.min(Math.max(retryAfterMs ?? 0, least), longestPauseMs);
    if (isAbuse) this.#ofAddress.#abusedUntil = Math.max(this.#ofAddress.#abusedUntil, now + ms);
    else this.#pausedUntil = Math.max(this.#pausedUntil, now + ms);
  }

  rehearse(mode: RehearsalMode, until: number): void {
    this.#rehearsal = { mode, until };
  }

  /** Until when no pull is left, because the upstream said so or in rehearsal; undefined when that is over. */
  emptyUntil(now: number): number | undefined {
    const rehearsed = this.#rehearsal?.mode === "empty" ? this.#rehearsal.until : 0;
    const until = Math.max(this.#emptyUntil, rehearsed);
    return now < until ? until : undefined;
  }

  /** Until when no request of any kind is sent. */
  pausedUntil(now: number): number | undefined {
    const until = Math.max(this.#pausedUntil, this.#ofAddress.#abusedUntil);
    return now < until ? until : undefined;
  }

  /** What to save. A rehearsal ends with the process, an upstream's pause does not. */
  saved(now: number): { readonly pausedUntil: number | undefined; readonly emptyUntil: number | undefined } {
    return {
      pausedUntil: this.pausedUntil(now),
      emptyUntil: now < this.#emptyUntil ? this.#emptyUntil : undefined,
    };
  }

  rehearsal(now: number): { readonly mode: RehearsalMode; readonly until: number } | undefined {
    return this.#rehearsal && now < this.#rehearsal.until ? this.#rehearsal : undefined;
  }

  /** Those that hold for all buckets of an address. */
  get #ofAddress(): Pauses {
    return this.#beside ?? this;
  }
}
