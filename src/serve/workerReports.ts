/** Reports of a worker to its owner: what happened in it, collected and sent a few times a second. */
import type { Clock } from "../async/clock.ts";
import type { ConnectionLimit } from "../http/limits.ts";
import { Subtotals, type EndedRequests, type RequestSums } from "../http/requestRecord.ts";
import type { Digest } from "../oci/digest.ts";
import { formatImage, type Repository } from "../oci/reference.ts";
import type { Audit, AuditedPull } from "../telemetry/audit.ts";
import { byTurn, type Output } from "../telemetry/log.ts";

/** An image that was pulled so many times. */
export interface ReportedUse {
  readonly repository: Repository;
  readonly digest: Digest;
  times: number;
}

/** What happened in a worker since its last report. */
export interface WorkerReport {
  /** Lines of the log in UTF-8, each with its line end. */
  readonly lines: Buffer;
  readonly uses: readonly ReportedUse[];
  readonly requests: readonly EndedRequests[];
  readonly audited: readonly AuditedPull[];
  readonly tlsFailures: number;
  /** How many connections were ended for which limit. */
  readonly limited: readonly (readonly [limit: ConnectionLimit, count: number])[];
}

/** How long anything waits for its report at most, in ms: this much a worker that is killed takes with it. */
const everyMs = 100;

type Sent = (error?: Error | null) => void;

export class WorkerReports implements RequestSums, Output {
  readonly #send: (report: WorkerReport, sent?: Sent) => void;
  readonly #clock: Pick<Clock, "after">;
  readonly #requests = new Subtotals();
  readonly #uses = new Map<string, ReportedUse>();
  // Bytes, since they lie outside the heap: text would grow old there before it is sent, for the next full collection to find.
  #lines: Buffer[] = [];
  readonly #output = byTurn((lines) => {
    this.#lines.push(Buffer.from(lines));
    this.#plan();
  });
  #audited: AuditedPull[] = [];
  #tlsFailures = 0;
  readonly #limited = new Map<ConnectionLimit, number>();
  #isDue = false;

  constructor(send: (report: WorkerReport, sent?: Sent) => void, clock: Pick<Clock, "after">) {
    this.#send = send;
    this.#clock = clock;
  }

  readonly audit: Audit = {
    write: (pull) => {
      this.#audited.push(pull);
      this.#plan();
    },
    close: async () => {},
  };

  write(line: string): void {
    this.#output.write(line);
  }

  add(requests: EndedRequests): void {
    this.#requests.add(requests);
    this.#plan();
  }

  readonly used = (repository: Repository, digest: Digest): void => {
    const key = formatImage(repository, digest);
    this.#uses.getOrInsertComputed(key, () => ({ repository, digest, times: 0 })).times += 1;
    this.#plan();
  };

  readonly tlsFailed = (): void => {
    this.#tlsFailures += 1;
    this.#plan();
  };

  readonly limitReached = (limit: ConnectionLimit): void => {
    this.#limited.set(limit, (this.#limited.get(limit) ?? 0) + 1);
    this.#plan();
  };

  /** Sends a report now. */
  flush(sent?: Sent): void {
    this.#output.flushSync();
    this.#isDue = false;
    const report = {
      lines: Buffer.concat(this.#lines),
      uses: [...this.#uses.values()],
      requests: this.#requests.take(),
      audited: this.#audited,
      tlsFailures: this.#tlsFailures,
      limited: [...this.#limited],
    };
    this.#lines = [];
    this.#uses.clear();
    this.#audited = [];
    this.#tlsFailures = 0;
    this.#limited.clear();
    this.#send(report, sent);
  }

  #plan(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#clock.after(everyMs, () => {
      if (this.#isDue) this.flush();
    });
  }
}
