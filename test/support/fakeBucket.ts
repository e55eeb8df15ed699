/** A bucket that lets everything pass and remembers it, for tests of what asks it. */
import type { QuotaAnswer, Bucket, QuotaRequest, Permit, QuotaError } from "../../src/quota/quota.ts";

/** One request that was let through, and how it was said to have gone. */
export interface Taken {
  readonly errand: QuotaRequest;
  /** What its permit was told: exactly one thing, once the request is over. */
  readonly reports: (QuotaAnswer | "failed")[];
}

export class FakeBucket implements Bucket {
  readonly taken: Taken[] = [];
  readonly tokens: string[] = [];
  /** Set to refuse whatever it returns an error for. */
  refuse: (errand: QuotaRequest) => QuotaError | undefined = () => undefined;

  async take(errand: QuotaRequest, signal?: AbortSignal): Promise<Permit> {
    signal?.throwIfAborted();
    const refusal = this.refuse(errand);
    if (refusal) throw refusal;
    const reports: Taken["reports"] = [];
    this.taken.push({ errand, reports });
    return {
      answered: (answer) => void reports.push(answer),
      failed: () => void reports.push("failed"),
    };
  }

  refusal(errand: QuotaRequest): QuotaError | undefined {
    return this.refuse(errand);
  }

  learnToken(token: string): void {
    this.tokens.push(token);
  }

  /** The kinds of the requests that were let through, in order. */
  get kinds(): string[] {
    return this.taken.map(({ errand }) => errand.kind);
  }

  /** The statuses that the permits of one kind were told. */
  statuses(kind: QuotaRequest["kind"]): (number | "failed" | "twice" | "never")[] {
    return this.taken
      .filter(({ errand }) => errand.kind === kind)
      .map(({ reports: [report, ...more] }) => {
        if (more.length > 0) return "twice";
        if (report === undefined) return "never";
        return report === "failed" ? report : report.status;
      });
  }
}
