/** The audit log: one line of JSON for every pull, in the order in which they ended. */
import { pino } from "pino";
import { AuditFile, type AuditFileOptions } from "./auditFile.ts";
import { inOneLine } from "./log.ts";

/** A pull that is over. The names of these fields, and their order, are promised in docs/operations.md. */
export interface AuditedPull {
  /** The name that Hubcap knows the client by: its node, or its address. */
  readonly client: string;
  readonly address: string | undefined;
  readonly node: string | undefined;
  /** By what the client was known, where it has proven something, in the words of the rules. */
  readonly identity: string | undefined;
  readonly userAgent: string;
  readonly method: string | undefined;
  /** What was asked for: `manifest`, `blob`, `tags`, `referrers`, or `unknown` for what is no request for any of these. */
  readonly kind: string;
  readonly upstream: string | undefined;
  readonly repository: string | undefined;
  readonly reference: string | undefined;
  /** The content's, also where a tag was asked for. */
  readonly digest: string | undefined;
  readonly outcome: string;
  readonly status: number;
  /** Did the answer go out whole? */
  readonly complete: boolean;
  /** Bytes that went over the connection. */
  readonly bytes: number;
  readonly durationMs: number;
  /** Why the answer is an error. */
  readonly reason: string | undefined;
  /** Set when it was refused for who the client is, which its answer does not tell. */
  readonly denied: string | undefined;
}

/** Where pulls are written down. */
export interface Audit {
  write(pull: AuditedPull): void;
  /** Writes what is left. */
  close(): Promise<void>;
}

/** One line for `pull`, with its end. Fields that are not known are not there. */
function auditLine(pull: AuditedPull, now: number): string {
  return `${inOneLine(JSON.stringify({ time: new Date(now).toISOString(), event: "pull", ...pull }))}\n`;
}

/** The audit log on standard output, between the lines of the log, which have no `event`. */
export function auditToStdout(): Audit {
  // Synchronous as the log's own writes are, so that no line is torn by another.
  const out = pino.destination({ fd: 1, sync: true });
  return {
    write: (pull) => void out.write(auditLine(pull, Date.now())),
    close: async () => {},
  };
}

/** The audit log in a file; SIGHUP has it opened anew. */
export function auditToFile(options: AuditFileOptions): Audit {
  const file = new AuditFile(options);
  const reopen = (): void => file.reopen();
  process.on("SIGHUP", reopen);
  return {
    write: (pull) => file.add(auditLine(pull, Date.now())),
    close: () => {
      process.off("SIGHUP", reopen);
      return file.close();
    },
  };
}
