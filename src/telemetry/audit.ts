/** The audit log: one line of JSON for every pull, in the order in which they ended. */
import { pino } from "pino";
import type { Clock } from "../async/clock.ts";
import { AuditFile, type AuditFileOptions } from "./auditFile.ts";
import { inOneLine } from "./log.ts";

/** A pull that is over. The names of these fields, and their order, are promised in docs/operations.md. */
export interface AuditedPull {
  /** The client's name: its node, or its address. */
  readonly client: string;
  readonly address: string | undefined;
  readonly node: string | undefined;
  /** How the client authenticated, as rules write it; absent if it did not. */
  readonly identity: string | undefined;
  readonly userAgent: string;
  readonly method: string | undefined;
  /** What was requested: `manifest`, `blob`, `tags`, `referrers`, or `unknown` for anything else. */
  readonly kind: string;
  readonly upstream: string | undefined;
  readonly repository: string | undefined;
  readonly reference: string | undefined;
  /** The content's, also for a request by tag. */
  readonly digest: string | undefined;
  readonly outcome: string;
  readonly status: number;
  /** Whether the whole response was sent. */
  readonly complete: boolean;
  /** Bytes that were sent over the connection. */
  readonly bytes: number;
  readonly durationMs: number;
  /** Why the response is an error. */
  readonly reason: string | undefined;
  /** Set when `access` denied it, which the response does not show. */
  readonly denied: string | undefined;
}

/** Where pulls are recorded. */
export interface Audit {
  write(pull: AuditedPull): void;
  /** Writes what is left. */
  close(): Promise<void>;
}

/** One line for `pull`, with its line end. Unknown fields are left out. */
function auditLine(pull: AuditedPull, now: number): string {
  return `${inOneLine(JSON.stringify({ time: new Date(now).toISOString(), event: "pull", ...pull }))}\n`;
}

/** The audit log on standard output, between the lines of the log, which have no `event`. */
export function auditToStdout(clock: Pick<Clock, "now">): Audit {
  // Synchronous like the log's own writes, so that lines do not interleave.
  const out = pino.destination({ fd: 1, sync: true });
  return {
    write: (pull) => void out.write(auditLine(pull, clock.now())),
    close: async () => {},
  };
}

/** The audit log in a file; SIGHUP reopens it. */
export function auditToFile(options: AuditFileOptions): Audit {
  const file = new AuditFile(options);
  const reopen = (): void => file.reopen();
  process.on("SIGHUP", reopen);
  return {
    write: (pull) => file.add(auditLine(pull, options.clock.now())),
    close: () => {
      process.off("SIGHUP", reopen);
      return file.close();
    },
  };
}
