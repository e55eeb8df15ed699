/** An account at an upstream: its secret, and the lockout that keeps a refused one from being tried again and again. */
import type { Clock } from "../../async/clock.ts";
import { UpstreamError } from "../error.ts";
import { unlessAborted } from "../../async/concurrency.ts";

/** Sends a form to the registry's own origin and returns the JSON of a 200. @throws UpstreamError */
export type PostForm = (url: URL, form: Readonly<Record<string, string>>) => Promise<unknown>;

/** An account at an upstream; pulls without one are anonymous. */
export interface Credential {
  /** A name to show, which is never a secret. */
  readonly account: string;
  /** What to send now; undefined is nothing. @throws Error when it cannot be obtained. */
  secret(post: PostForm): Promise<AccountSecret | undefined>;
  /** The upstream refused `secret`: the next one is read or obtained anew. */
  refused(secret: AccountSecret): void;
}

/** A user name with its password or identity token. It cannot be printed: the secret leaves only in a header or a form. */
export class AccountSecret {
  readonly #username: string;
  readonly #password: string;
  /** The password is an identity token (Docker's `identitytoken`): token services take it as an OAuth2 refresh token. */
  readonly isIdentity: boolean;

  constructor(username: string, password: string, isIdentity = false) {
    this.#username = username;
    this.#password = password;
    this.isIdentity = isIdentity;
  }

  /** The value of an `Authorization: Basic` header (RFC 7617). */
  basic(): string {
    return `Basic ${Buffer.from(`${this.#username}:${this.#password}`).toString("base64")}`;
  }

  /** The parameters of an OAuth2 refresh (RFC 6749 6). */
  refreshGrant(): Record<string, string> {
    return { grant_type: "refresh_token", refresh_token: this.#password };
  }

  equals(other: AccountSecret | undefined): boolean {
    return other !== undefined && this.#username === other.#username && this.#password === other.#password;
  }
}

const firstPauseMs = 60_000;
const longestPauseMs = 3600_000;

/** A secret that worked before may be refused this often in a row, since some services answer so for a repository they hide. */
const refusalsAllowed = 3;

/**
 * Whether one upstream accepts one account's secret. Docker Hub locks an account that keeps failing, and with it all that
 * use it.
 */
export class Lockout {
  readonly #upstream: string;
  readonly #account: string;
  readonly #clock: Pick<Clock, "now">;
  #accepted: AccountSecret | undefined;
  #refused: AccountSecret | undefined;
  #refusals = 0;
  #pauses = 0;
  #pausedUntil = 0;
  #trial: Promise<unknown> | undefined;

  constructor(upstream: string, account: string, clock: Pick<Clock, "now">) {
    this.#upstream = upstream;
    this.#account = account;
    this.#clock = clock;
  }

  /** The upstream accepted `secret`. */
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
    if (secret.equals(this.#accepted) && this.#refusals < refusalsAllowed) return;
    this.#pausedUntil = this.#clock.now() + Math.min(firstPauseMs * 2 ** this.#pauses, longestPauseMs);
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
    const pause = this.#pausedUntil - this.#clock.now();
    // A clock that went back must not stretch the pause.
    if (pause <= 0 || pause > longestPauseMs) return;
    throw new UpstreamError(
      "denied",
      `${this.#upstream} refused the credential of account "${this.#account}"; it is not tried again so soon, so that the account is not locked`,
      { status: 401, retryAfter: Math.ceil(pause / 1000), reason: "credential-refused" },
    );
  }
}
