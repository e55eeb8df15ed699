/** What a worker has to tell its owner: written down as it happens, and sent together a few times a second. */
import type { ConnectionLimit } from "../http/limits.ts";
import { Subtotals, type AnsweredRequests, type RequestSums } from "../http/requestSums.ts";
import type { Digest } from "../oci/digest.ts";
import { formatImage, type Repository } from "../oci/reference.ts";
import type { Audit, AuditedPull } from "../telemetry/audit.ts";
import { byTurn, type Output } from "../telemetry/log.ts";

/** An image that was asked for, so many times. */
export interface ReportedUse {
  readonly repository: Repository;
  readonly digest: Digest;
  times: number;
}

/** What happened in a worker since the last one. */
export interface ReportBatch {
  /** Lines of the log in UTF-8, each with its end. */
  readonly lines: Buffer;
  readonly uses: readonly ReportedUse[];
  readonly answers: readonly AnsweredRequests[];
  readonly audited: readonly AuditedPull[];
  readonly tlsFailures: number;
  /** How many connections were ended for which limit. */
  readonly limited: readonly (readonly [limit: ConnectionLimit, count: number])[];
}

/** How long something waits at most to be told, in ms: what a worker that is killed takes with it. */
const everyMs = 100;

type Sent = (error?: Error | null) => void;

export class WorkerReports implements RequestSums, Output {
  readonly #send: (batch: ReportBatch, sent?: Sent) => void;
  readonly #answers = new Subtotals();
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

  constructor(send: (batch: ReportBatch, sent?: Sent) => void) {
    this.#send = send;
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

  add(answers: AnsweredRequests): void {
    this.#answers.add(answers);
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

  readonly reached = (limit: ConnectionLimit): void => {
    this.#limited.set(limit, (this.#limited.get(limit) ?? 0) + 1);
    this.#plan();
  };

  /** Sends what there is. */
  flush(sent?: Sent): void {
    this.#output.flushSync();
    this.#isDue = false;
    const batch = {
      lines: Buffer.concat(this.#lines),
      uses: [...this.#uses.values()],
      answers: this.#answers.take(),
      audited: this.#audited,
      tlsFailures: this.#tlsFailures,
      limited: [...this.#limited],
    };
    this.#lines = [];
    this.#uses.clear();
    this.#audited = [];
    this.#tlsFailures = 0;
    this.#limited.clear();
    this.#send(batch, sent);
  }

  #plan(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => {
      if (this.#isDue) this.flush();
    }, everyMs);
  }
}
