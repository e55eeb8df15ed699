/** This machine's clock, held against what servers say. */
import { request } from "node:https";
import { Finding } from "./verdicts.ts";

/** More than this and signatures and tokens begin to fail. */
const tolerableMs = 5 * 60_000;

export class ServerTime {
  readonly #now: () => number;
  /** How far this machine is ahead, in ms, where a server has said what time it is. */
  #aheadMs: number | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Learns from the `Date` of an answer. */
  learn(date: unknown): void {
    const time = typeof date === "string" ? Date.parse(date) : Number.NaN;
    if (!Number.isNaN(time)) this.#aheadMs ??= this.#now() - time;
  }

  /** What is wrong with the clock, as a clause; undefined when nothing is, or no one has said. */
  get doubt(): string | undefined {
    const ahead = this.#aheadMs ?? 0;
    if (Math.abs(ahead) < tolerableMs) return undefined;
    const minutes = Math.round(Math.abs(ahead) / 60_000);
    return `the clock of this machine is ${minutes} minutes ${ahead > 0 ? "ahead" : "behind"}`;
  }

  /** The finding that `found` really is: a wrong clock makes good certificates and tokens look bad. */
  judge(found: Finding): Finding {
    const isTimely =
      found.code === "tls-expired" || found.code === "credential-refused" || found.code === "no-access";
    const { doubt } = this;
    if (!isTimely || doubt === undefined) return found;
    return new Finding("clock-wrong", `${doubt}, and so ${found.message}`, { cause: found });
  }

  /** Asks a server whose certificate was refused for nothing but the time. Nothing is sent, and nothing else is believed. */
  async ask(url: URL, timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const options = {
        method: "HEAD",
        rejectUnauthorized: false,
        timeout: timeoutMs,
        agent: false,
      } as const;
      const asking = request(new URL("/v2/", url), options, (response) => {
        this.learn(response.headers.date);
        response.destroy();
        resolve();
      });
      asking.on("timeout", () => asking.destroy()).on("error", () => resolve());
      asking.end();
    });
  }
}
