/** Posts messages to a webhook: one after the other, with retries; no caller waits. */
import type { Clock } from "../async/clock.ts";
import type { AlertMessage } from "./alerts.ts";

export type WebhookFormat = "json" | "slack";

export interface WebhookOptions {
  /** Secret as a whole: it is never part of a message. */
  readonly url: string;
  readonly format: WebhookFormat;
  /** Called with how each message ended; `reason` says why it was not accepted. */
  readonly ended: (message: AlertMessage, result: "sent" | "failed" | "dropped", reason?: string) => void;
  /** The wait after each failed try, in ms; after the last one the message is given up. */
  readonly pauses?: readonly number[];
  readonly clock: Pick<Clock, "sleep">;
}

const usualPauses = [1_000, 5_000, 30_000, 120_000];

/** How long one try may take, in ms. */
const timeoutMs = 10_000;

/** Messages that wait at most; the oldest is dropped for a newer one. */
const mostWaiting = 100;

export class Webhook {
  readonly #options: WebhookOptions;
  readonly #closing = new AbortController();
  #waiting: AlertMessage[] = [];
  #isSending = false;

  constructor(options: WebhookOptions) {
    this.#options = options;
  }

  /** Queues a message and returns at once. */
  send(message: AlertMessage): void {
    this.#waiting.push(message);
    const dropped = this.#waiting.length > mostWaiting ? this.#waiting.shift() : undefined;
    if (dropped) this.#options.ended(dropped, "dropped", "too many messages wait");
    if (!this.#isSending) void this.#run();
  }

  /** Stops sending. */
  close(): void {
    this.#closing.abort();
    this.#waiting = [];
  }

  async #run(): Promise<void> {
    this.#isSending = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) await this.#deliver(next);
    this.#isSending = false;
  }

  async #deliver(message: AlertMessage): Promise<void> {
    const { ended, pauses = usualPauses, clock } = this.#options;
    let reason: string | undefined;
    for (const ms of [...pauses, undefined]) {
      const refusal = await this.#try(message);
      if (!refusal) return ended(message, "sent");
      reason = refusal.reason;
      if (!refusal.mayPass || ms === undefined) break;
      await clock.sleep(ms, this.#closing.signal);
      if (this.#closing.signal.aborted) return;
    }
    ended(message, "failed", reason);
  }

  /** Undefined when the message was accepted, else why not, and whether a retry may help. */
  async #try(message: AlertMessage): Promise<{ reason: string; mayPass: boolean } | undefined> {
    const { url, format } = this.#options;
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", "user-agent": "hubcap" },
        body: JSON.stringify(format === "slack" ? slackMessage(message) : message),
        // A redirect could lead the message anywhere.
        redirect: "manual",
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]),
      });
      await answer.body?.cancel();
      if (answer.ok) return undefined;
      const mayPass = answer.status === 408 || answer.status === 429 || answer.status >= 500;
      return { reason: `status ${answer.status}`, mayPass };
    } catch (error) {
      return { reason: codeOf(error), mayPass: true };
    }
  }
}

/** A text escaped for Slack and compatible services: three characters have a meaning there. */
export function slackMessage({ event, state, subject, summary, instance }: AlertMessage): { text: string } {
  const end = state === "firing" ? `: ${summary}` : " is over.";
  const text = `Hubcap ${instance}: *${event}* of ${subject}${end}`;
  return { text: text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;") };
}

/** One word for what went wrong. The messages of such errors can quote the address. */
function codeOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code, name } = cause as NodeJS.ErrnoException;
    if (typeof code === "string") return code;
    if (name === "TimeoutError") return `no answer within ${timeoutMs / 1000} s`;
  }
  return "no answer";
}
