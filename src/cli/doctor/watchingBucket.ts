/** A bucket that lets everything pass and writes down what was answered: what Hubcap's own upstream module does, made visible. */
import { readRateLimit, readTokenLimit, type Headers } from "../../quota/limits.ts";
import { msSince } from "./journal.ts";
import type { QuotaAnswer, Bucket, QuotaRequest, Permit, RequestKind } from "../../quota/quota.ts";

/** One answer. */
export interface Seen {
  readonly kind: RequestKind;
  readonly status: number;
  readonly headers: Headers;
  /** Milliseconds until it came. */
  readonly ms: number;
}

export class WatchingBucket implements Bucket {
  readonly seen: Seen[] = [];
  readonly #tell: (seen: Seen) => void;
  #claimed: { readonly limit: number; readonly windowMs: number } | undefined;

  /** `onAnswer` is called with each answer. */
  constructor(tell: (seen: Seen) => void) {
    this.#tell = tell;
  }

  async take({ kind }: QuotaRequest): Promise<Permit> {
    const started = performance.now();
    const answered = ({ status, headers }: QuotaAnswer): void => {
      const seen = { kind, status, headers, ms: msSince(started) };
      this.seen.push(seen);
      this.#tell(seen);
    };
    return { answered, failed: () => undefined };
  }

  refusal(): undefined {
    return undefined;
  }

  learnToken(token: string): void {
    this.#claimed ??= readTokenLimit(token);
  }

  /** The first answer of a kind. */
  first(kind: RequestKind): Seen | undefined {
    return this.seen.find((seen) => seen.kind === kind);
  }

  /** What the registry says is left; undefined when it does not count. */
  get rate():
    | { readonly limit: number; readonly remaining: number | undefined; readonly source: string | undefined }
    | undefined {
    const {
      limit = this.#claimed?.limit,
      remaining,
      source,
    } = readRateLimit(this.first("manifest-head")?.headers ?? {});
    return limit === undefined ? undefined : { limit, remaining, source };
  }
}
