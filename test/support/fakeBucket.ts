/** A bucket that permits and records all requests, for tests of its users. */
import type { QuotaAnswer, Bucket, QuotaRequest, Permit, QuotaError } from "../../src/quota/quota.ts";

/** One request that was permitted, and how its end was reported. */
export interface Taken {
  readonly request: QuotaRequest;
  /** What was reported to its permit: exactly one thing, once the request is over. */
  readonly reports: (QuotaAnswer | "failed")[];
}

export class FakeBucket implements Bucket {
  readonly taken: Taken[] = [];
  readonly tokens: string[] = [];
  /** Set to refuse the requests for which it returns an error. */
  refuse: (request: QuotaRequest) => QuotaError | undefined = () => undefined;

  async take(request: QuotaRequest, signal?: AbortSignal): Promise<Permit> {
    signal?.throwIfAborted();
    const refusal = this.refuse(request);
    if (refusal) throw refusal;
    const reports: Taken["reports"] = [];
    this.taken.push({ request, reports });
    return {
      answered: (answer) => void reports.push(answer),
      failed: () => void reports.push("failed"),
    };
  }

  refusal(request: QuotaRequest): QuotaError | undefined {
    return this.refuse(request);
  }

  learnToken(token: string): void {
    this.tokens.push(token);
  }

  /** The kinds of the requests that were let through, in order. */
  get kinds(): string[] {
    return this.taken.map(({ request }) => request.kind);
  }

  /** The statuses that were reported to the permits of one kind. */
  statuses(kind: QuotaRequest["kind"]): (number | "failed" | "twice" | "never")[] {
    return this.taken
      .filter(({ request }) => request.kind === kind)
      .map(({ reports: [report, ...more] }) => {
        if (more.length > 0) return "twice";
        if (report === undefined) return "never";
        return report === "failed" ? report : report.status;
      });
  }
}
