/** The upstream's recent "no": asked again only after a while. */
import { UpstreamError } from "../upstream/error.ts";

/** For how many ms a "no" is believed. A 404 may be pushed soon; an account may be given access sooner. */
const beliefMs = { absent: 30_000, denied: 10_000 } as const;

/** How many are remembered: a client that makes names up must not fill the memory. */
const capacity = 10_000;

/** A bounded table of questions that an upstream answered with "no". */
export class NegativeCache {
  readonly #until = new Map<string, { readonly error: UpstreamError; readonly at: number }>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The remembered "no" to `question`, if it is still believed. */
  get(question: string): UpstreamError | undefined {
    const entry = this.#until.get(question);
    if (entry && entry.at > this.#now()) return entry.error;
    this.#until.delete(question);
    return undefined;
  }

  /** Remembers `error` if it is a "no"; anything else says nothing about the content. */
  note(question: string, error: unknown): void {
    if (!(error instanceof UpstreamError) || (error.kind !== "absent" && error.kind !== "denied")) return;
    if (this.#until.size >= capacity) {
      const oldest = this.#until.keys().next();
      if (!oldest.done) this.#until.delete(oldest.value);
    }
    this.#until.set(question, { error, at: this.#now() + beliefMs[error.kind] });
  }
}
