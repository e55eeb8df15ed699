/** What answers add up to: the metrics, the page's history, and what the upstreams were spared. */
import type { Outcome } from "../mirror/context.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Buckets } from "./reply.ts";

/** Answers of one kind and outcome. */
export interface AnsweredRequests {
  /** The source host, or empty for what was asked of none. */
  readonly upstream: string;
  readonly kind: string;
  readonly outcome: Outcome | "error";
  /** How long each of them took. */
  readonly seconds: readonly number[];
  /** What went over their connections. */
  readonly bytes: number;
  /** What their clients got without the upstream being asked for it. */
  readonly savedPulls?: number;
  readonly savedBytes?: number;
}

/** Where answers are added up. */
export interface RequestSums {
  add(answers: AnsweredRequests): void;
}

/** The sums of the house. */
export function requestSums(metrics: Metrics, buckets: Buckets): RequestSums {
  return {
    add({ upstream, kind, outcome, seconds, bytes, savedPulls = 0, savedBytes = 0 }) {
      for (const each of seconds) metrics.requestSeconds.observe({ kind, outcome }, each);
      metrics.requests.inc({ upstream, kind, outcome }, seconds.length);
      if (upstream !== "") metrics.servedBytes.inc({ upstream, outcome }, bytes);
      if (savedPulls > 0 || savedBytes > 0) buckets.get(upstream)?.saved(savedPulls, savedBytes);
      if (kind !== "manifest" && kind !== "blob") return;
      for (const [index] of seconds.entries()) metrics.history.count(outcome, index === 0 ? savedBytes : 0);
    },
  };
}

type Subtotal = { -readonly [key in keyof AnsweredRequests]-?: AnsweredRequests[key] } & {
  readonly seconds: number[];
};

/** Adds up answers that are alike until they are taken. */
export class Subtotals implements RequestSums {
  #answers = new Map<string, Subtotal>();

  get isEmpty(): boolean {
    return this.#answers.size === 0;
  }

  add({ upstream, kind, outcome, seconds, bytes, savedPulls = 0, savedBytes = 0 }: AnsweredRequests): void {
    const key = `${upstream} ${kind} ${outcome}`;
    const known = this.#answers.get(key);
    if (!known) {
      const first = { upstream, kind, outcome, seconds: [...seconds], bytes, savedPulls, savedBytes };
      this.#answers.set(key, first);
      return;
    }
    known.seconds.push(...seconds);
    known.bytes += bytes;
    known.savedPulls += savedPulls;
    known.savedBytes += savedBytes;
  }

  /** All there is, which is then gone from here. */
  take(): AnsweredRequests[] {
    const answers = [...this.#answers.values()];
    this.#answers = new Map();
    return answers;
  }
}

/** `sums`, told once of all answers that are alike in one turn of the event loop. */
export function inTurns(sums: RequestSums): RequestSums {
  const subtotals = new Subtotals();
  const tell = (): void => {
    for (const answers of subtotals.take()) sums.add(answers);
  };
  return {
    add(answers) {
      if (subtotals.isEmpty) setImmediate(tell);
      subtotals.add(answers);
    },
  };
}
