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

/** For how long a login of our own answers for the secret when names are refused, and for how many of them in a row. */
const beliefMs = 60_000;
const mostRefusals = 10;

/** Why logins that have not been sent wait again. */
const suspected = new Error("the secret may not be right any more");

/** A request that shows a secret. */
export interface Login<T> {
  /** For what a client asked for. Leaves the queue with the reason of `suspicion`. */
  readonly send: (suspicion: AbortSignal) => Promise<T>;
  /** Was the answer a 401? It may be about what was asked for: some services answer so for what they hide. */
  readonly isRefusal: (answer: T) => boolean;
  /** In our own name, for nothing that a client chose: is the secret accepted? */
  readonly own: () => Promise<boolean>;
}

/**
 * Whether one upstream accepts one account's secret. Docker Hub locks an account that keeps failing, and with it all that use it.
 * Names are the clients' to choose, so only a login of our own decides, and not for each name.
 */
export class Lockout {
  readonly #upstream: string;
  readonly #account: string;
  readonly #clock: Pick<Clock, "now">;
  #accepted: AccountSecret | undefined;
  /** When a login of our own was accepted. */
  #judgedAt = Number.NEGATIVE_INFINITY;
  #refused: AccountSecret | undefined;
  /** Names that were refused in a row. */
  #refusals = 0;
  #pauses = 0;
  #pausedUntil = 0;
  #trial: Promise<unknown> | undefined;
  #judging: Promise<void> | undefined;
  #suspicion = new AbortController();

  constructor(upstream: string, account: string, clock: Pick<Clock, "now">) {
    this.#upstream = upstream;
    this.#account = account;
    this.#clock = clock;
  }

  /** Is `secret` refused, as far as is known? */
  isRefused(secret: AccountSecret): boolean {
    return secret.equals(this.#refused);
  }

  /**
   * The answer to `login`, which shows `secret`. While the secret is not known to work there is one at a time, so that a wrong one
   * fails once and not a hundred times; after a refusal, {@link isRefused} says whether it is about the secret.
   * @throws UpstreamError "denied" while `secret` may not be tried again, and the reason of `signal` if it is aborted before the turn.
   */
  async tryLogin<T>(secret: AccountSecret, login: Login<T>, signal?: AbortSignal): Promise<T> {
    for (;;) {
      for (let before; (before = this.#before(secret));) {
        // Only where there is something to wait for: the first of many has to be alone from the start.
        const over = before.catch(() => {});
        await (signal ? unlessAborted(over, signal) : over);
      }
      this.#check(secret);
      try {
        if (this.#isProven(secret)) return await this.#attempt(secret, login);
        // After a pause, what a client asks for must not be what decides.
        const isOver = this.isRefused(secret);
        const trial = isOver ? this.#judge(secret, login.own) : this.#attempt(secret, login);
        const answer = await this.#alone<unknown>(trial);
        if (!isOver) return answer as T;
      } catch (error) {
        if (error !== suspected) throw error;
      }
    }
  }

  /** The upstream accepted `secret`. */
  #accept(secret: AccountSecret): void {
    this.#accepted = secret;
    this.#refused = undefined;
    this.#refusals = 0;
    this.#pauses = 0;
  }

  #refuse(secret: AccountSecret): void {
    this.#refused = secret;
    this.#pausedUntil = this.#clock.now() + Math.min(firstPauseMs * 2 ** this.#pauses, longestPauseMs);
    this.#pauses += 1;
  }

  async #attempt<T>(secret: AccountSecret, { send, isRefusal, own }: Login<T>): Promise<T> {
    const answer = await send(this.#suspicion.signal);
    if (!isRefusal(answer)) {
      this.#accept(secret);
      return answer;
    }
    this.#refusals += 1;
    const isRecent = Math.abs(this.#clock.now() - this.#judgedAt) < beliefMs;
    const isBelieved = this.#isProven(secret) && isRecent && this.#refusals <= mostRefusals;
    if (!isBelieved && !this.isRefused(secret)) await this.#judge(secret, own);
    return answer;
  }

  /** One login of our own for all that need to know. */
  #judge(secret: AccountSecret, own: () => Promise<boolean>): Promise<void> {
    return (this.#judging ??= (async () => {
      this.#suspicion.abort(suspected);
      this.#suspicion = new AbortController();
      try {
        if (await own()) {
          this.#accept(secret);
          this.#judgedAt = this.#clock.now();
        } else {
          this.#refuse(secret);
        }
      } finally {
        this.#judging = undefined;
      }
    })());
  }

  /** What a login with `secret` waits for. */
  #before(secret: AccountSecret): Promise<unknown> | undefined {
    return this.#judging ?? (this.#isProven(secret) ? undefined : this.#trial);
  }

  async #alone<T>(trial: Promise<T>): Promise<T> {
    this.#trial = trial;
    try {
      return await trial;
    } finally {
      if (this.#trial === trial) this.#trial = undefined;
    }
  }

  #isProven(secret: AccountSecret): boolean {
    return secret.equals(this.#accepted) && !this.isRefused(secret);
  }

  #check(secret: AccountSecret): void {
    if (!this.isRefused(secret)) return;
    const pause = this.#pausedUntil - this.#clock.now();
    // A clock that went back must not stretch the pause.
    if (pause <= 0 || pause > longestPauseMs) return;
    throw this.refusal({ retryAfter: Math.ceil(pause / 1000) });
  }

  /** The error for a secret that is refused. */
  refusal(more: { readonly retryAfter?: number } = {}): UpstreamError {
    return new UpstreamError(
      "denied",
      `${this.#upstream} refused the credential of account "${this.#account}"; it is not tried again so soon, so that the account is not locked`,
      { status: 401, reason: "credential-refused", ...more },
    );
  }
}
