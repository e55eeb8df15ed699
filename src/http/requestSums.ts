/** What requests add up to: the metrics, the page's history, and what the upstreams were spared. */
import type { Outcome } from "../mirror/context.ts";
import type { QuotaBucket } from "../quota/bucket.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** Requests of one kind and outcome that have ended. */
export interface EndedRequests {
  /** The source host; empty where there is none. */
  readonly upstream: string;
  readonly kind: string;
  readonly outcome: Outcome | "error";
  /** How long each of them took. */
  readonly seconds: readonly number[];
  /** What was sent on their connections. */
  readonly bytes: number;
  /** What clients got without a request to the upstream. */
  readonly savedPulls?: number;
  readonly savedBytes?: number;
}

/** Where requests are added up. */
export interface RequestSums {
  add(requests: EndedRequests): void;
}

/** Adds requests to the metrics and to what `buckets`, by source host, have saved. */
export function requestSums(
  metrics: Metrics,
  buckets: ReadonlyMap<string, Pick<QuotaBucket, "saved">>,
): RequestSums {
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

type Subtotal = { -readonly [key in keyof EndedRequests]-?: EndedRequests[key] } & {
  readonly seconds: number[];
};

/** Adds up requests of the same upstream, kind and outcome until they are taken. */
export class Subtotals implements RequestSums {
  #subtotals = new Map<string, Subtotal>();

  get isEmpty(): boolean {
    return this.#subtotals.size === 0;
  }

  add({ upstream, kind, outcome, seconds, bytes, savedPulls = 0, savedBytes = 0 }: EndedRequests): void {
    const key = `${upstream} ${kind} ${outcome}`;
    const known = this.#subtotals.get(key);
    if (!known) {
      const first = { upstream, kind, outcome, seconds: [...seconds], bytes, savedPulls, savedBytes };
      this.#subtotals.set(key, first);
      return;
    }
    known.seconds.push(...seconds);
    known.bytes += bytes;
    known.savedPulls += savedPulls;
    known.savedBytes += savedBytes;
  }

  /** Removes and returns all subtotals. */
  take(): EndedRequests[] {
    const subtotals = [...this.#subtotals.values()];
    this.#subtotals = new Map();
    return subtotals;
  }
}

/** Passes requests on to `sums` once a turn of the event loop, in subtotals: one by one they cost more than the rest of their record. */
export function inTurns(sums: RequestSums): RequestSums {
  const subtotals = new Subtotals();
  const flush = (): void => {
    for (const requests of subtotals.take()) sums.add(requests);
  };
  return {
    add(requests) {
      if (subtotals.isEmpty) setImmediate(flush);
      subtotals.add(requests);
    },
  };
}
