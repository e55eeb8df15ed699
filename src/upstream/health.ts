/** Whether an upstream is believed to be down, so that nobody waits for it in vain: a circuit breaker. */

/** So many failures in a row, and it is down. */
const failuresUntilDown = 5;

/** While it is down, one request in this time is let through to find out. */
const probeEveryMs = 5000;

/** One request that was let through. At most one of its methods is called; a probe that reports nothing is forgotten. */
export interface Attempt {
  /** An answer came, whatever it said. */
  succeeded(): void;
  /** No answer came, or the upstream said that it is broken (5xx). */
  failed(): void;
  /** It was not sent after all. */
  abandoned(): void;
}

/** The health of one upstream: its registry and its token service, not the hosts that they redirect to. */
export class Health {
  readonly #now: () => number;
  #failures = 0;
  #isDown = false;
  #probedAt = Number.NEGATIVE_INFINITY;
  // Goes up whenever earlier attempts stop mattering, so that a late result changes nothing.
  #generation = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  get knownDown(): boolean {
    return this.#isDown;
  }

  /** Leave to send a request, or undefined when the upstream is down and somebody else is finding out. */
  admit(): Attempt | undefined {
    if (this.#isDown) {
      const sinceProbe = this.#now() - this.#probedAt;
      // A clock that went back must not keep the upstream down.
      if (sinceProbe >= 0 && sinceProbe < probeEveryMs) return undefined;
      this.#probedAt = this.#now();
      this.#generation += 1;
    }
    return this.#attempt(this.#generation);
  }

  #attempt(generation: number): Attempt {
    const report = (change: () => void) => () => {
      if (generation === this.#generation) change();
    };
    return {
      succeeded: report(() => {
        this.#failures = 0;
        if (this.#isDown) this.#generation += 1;
        this.#isDown = false;
      }),
      failed: report(() => {
        this.#failures += 1;
        if (this.#isDown || this.#failures < failuresUntilDown) return;
        this.#isDown = true;
        this.#probedAt = this.#now();
        this.#generation += 1;
      }),
      abandoned: report(() => {
        this.#probedAt = Number.NEGATIVE_INFINITY;
      }),
    };
  }
}
