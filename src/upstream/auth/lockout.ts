/** Restraint after refused logins: Docker Hub locks an account that keeps failing, and with it everybody who uses it. */
import { UpstreamError } from "../error.ts";
import { unlessAborted } from "../../async/singleFlight.ts";
import type { AccountSecret } from "./secret.ts";

const firstPauseMs = 60_000;
const longestPauseMs = 3600_000;

/** A secret that worked before may be refused this often in a row, since some services answer so for a repository they hide. */
const patience = 3;

/** What is known about how one upstream takes one account's secret. */
export class Lockout {
  readonly #upstream: string;
  readonly #account: string;
  readonly #now: () => number;
  #accepted: AccountSecret | undefined;
  #refused: AccountSecret | undefined;
  #refusals = 0;
  #pauses = 0;
  #pausedUntil = 0;
  #trial: Promise<unknown> | undefined;

  constructor(upstream: string, account: string, now: () => number) {
    this.#upstream = upstream;
    this.#account = account;
    this.#now = now;
  }

  /** The upstream took `secret`. */
  accepted(secret: AccountSecret): void {
    this.#accepted = secret;
    this.#refused = undefined;
    this.#refusals = 0;
    this.#pauses = 0;
  }

  /** The upstream answered 401 to `secret`. */
  refused(secret: AccountSecret): void {
    this.#refusals = secret.equals(this.#refused) ? this.#refusals + 1 : 1;
    this.#refused = secret;
    if (secret.equals(this.#accepted) && this.#refusals < patience) return;
    this.#pausedUntil = this.#now() + Math.min(firstPauseMs * 2 ** this.#pauses, longestPauseMs);
    this.#pauses += 1;
  }

  /**
   * Runs `login`, which shows `secret` and says how that went; while it is not known to work, one at a time, so that a
   * wrong one fails once and not a hundred times.
   * @throws UpstreamError "denied" while `secret` may not be tried again, and the reason of `signal` if it is aborted before the turn.
   */
  async tryLogin<T>(secret: AccountSecret, login: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    while (!this.#isProven(secret) && this.#trial) {
      await (signal ? unlessAborted(this.#trial, signal) : this.#trial);
    }
    this.#check(secret);
    const run = login();
    if (this.#isProven(secret)) return run;
    const trial = run.then(
      () => undefined,
      () => undefined,
    );
    this.#trial = trial;
    try {
      return await run;
    } finally {
      if (this.#trial === trial) this.#trial = undefined;
    }
  }

  #isProven(secret: AccountSecret): boolean {
    return secret.equals(this.#accepted) && !secret.equals(this.#refused);
  }

  #check(secret: AccountSecret): void {
    if (!secret.equals(this.#refused)) return;
    const pause = this.#pausedUntil - this.#now();
    // A clock that went back must not stretch the pause.
    if (pause <= 0 || pause > longestPauseMs) return;
    throw new UpstreamError(
      "denied",
      `${this.#upstream} refused the credential of account "${this.#account}"; it is not tried again so soon, lest the account be locked`,
      { status: 401, retryAfter: Math.ceil(pause / 1000) },
    );
  }
}
