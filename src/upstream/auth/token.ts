/** Tokens: fetched from the allowed realm, kept per realm, service and scope, renewed before they expire. */
import type { Bucket, Purpose } from "../../quota/quota.ts";
import type { Clock } from "../../async/clock.ts";
import { inStep } from "../../async/step.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Gate } from "../gate.ts";
import { type Credential, type PostForm, type Lockout, type AccountSecret } from "./credential.ts";
import { UpstreamError } from "../error.ts";
import { SingleFlight, type Parties } from "../../async/concurrency.ts";
import type { HttpRequest, Reply, HttpClient } from "../net/httpClient.ts";

/** A token service. Its realm has been checked against the allowed origins. */
export interface Issuer {
  readonly realm: URL;
  readonly service: string | undefined;
}

/** What a token is needed for. */
export interface Need {
  readonly repository: Repository;
  readonly purpose: Purpose;
  readonly signal?: AbortSignal | undefined;
}

/** A token, and whether it was fetched just now: one that is refused then will be refused again. */
interface IssuedToken {
  readonly token: string;
  readonly isNew: boolean;
}

interface TokensOptions {
  readonly name: string;
  readonly credential: Credential | undefined;
  readonly lockout: Lockout;
  readonly gate: Gate;
  readonly client: HttpClient;
  readonly bucket: Bucket;
  readonly tokenMs: number;
  readonly userAgent: string;
  readonly clock: Pick<Clock, "now">;
}

interface Held {
  readonly token: string;
  readonly goodUntil: number;
}

const maxBytes = 64 * 1024;
const maxHeld = 2000;

// distribution-spec's token documentation: "If omitted, this defaults to 60 seconds".
const defaultLifeSeconds = 60;
const longestLifeSeconds = 24 * 3600;
const longestMarginMs = 30_000;

/** Statuses by which token services say that they know no OAuth2 POST: GCR 404, Artifactory 401, ACR 400 (containerd, authorizer.go). */
const noPost = new Set([400, 401, 404, 405]);

/** The tokens of one credential at one upstream. */
export class Tokens {
  readonly #options: TokensOptions;
  readonly #held = new Map<string, Held>();
  readonly #fetches = new SingleFlight<Held>();

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** A token to pull from a repository. @throws UpstreamError, "denied" when the service gives none. */
  async get(issuer: Issuer, need: Need): Promise<IssuedToken> {
    const key = keyOf(issuer, need);
    const held = this.#held.get(key);
    if (held && this.#options.clock.now() < held.goodUntil) return { token: held.token, isNew: false };
    const { purpose, signal } = need;
    const { token } = await inStep(
      purpose.trace,
      "token",
      { "hubcap.upstream": this.#options.name },
      (trace) => {
        const fetch = (joined: Parties): Promise<Held> => {
          const inside = { ...purpose, joined, ...(trace && { trace }) };
          return this.#fetch(issuer, { ...need, purpose: inside }, key);
        };
        return this.#fetches.join(key, fetch, signal, purpose);
      },
    );
    return { token, isNew: true };
  }

  /** Forgets a token that was refused, unless another caller has replaced it already. */
  forget(issuer: Issuer, need: Need, refused: string): void {
    const key = keyOf(issuer, need);
    if (this.#held.get(key)?.token === refused) this.#held.delete(key);
  }

  /** What the credential would send now; undefined without one. @throws UpstreamError, "denied" when it cannot be obtained. */
  async secret(need: Need): Promise<AccountSecret | undefined> {
    const { credential, name } = this.#options;
    const post: PostForm = (url, form) => this.#send(this.#post(url, form), need);
    try {
      return await credential?.secret(post);
    } catch (error) {
      if (error instanceof UpstreamError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new UpstreamError("denied", `${name}: the credential cannot be obtained: ${why}`, {
        cause: error,
        reason: "credential-refused",
      });
    }
  }

  async #fetch(issuer: Issuer, need: Need, key: string): Promise<Held> {
    const sentAt = this.#options.clock.now();
    const { token, lifeMs } = tokenIn(await this.#login(issuer, need), issuer.realm);
    const held = { token, goodUntil: sentAt + lifeMs - Math.min(longestMarginMs, lifeMs / 10) };
    this.#held.delete(key);
    this.#held.set(key, held);
    const [oldest] = this.#held.keys();
    if (this.#held.size > maxHeld && oldest !== undefined) this.#held.delete(oldest);
    this.#options.bucket.learnToken(token);
    return held;
  }

  async #login(issuer: Issuer, need: Need): Promise<unknown> {
    const { credential, lockout } = this.#options;
    const secret = await this.secret(need);
    if (!secret) return this.#send(this.#get(issuer, scopeOf(need)), need);
    const answer = await this.#loginWith(secret, issuer, need);
    if (!isRefusal(answer)) return answer;
    if (!lockout.isRefused(secret)) throw this.#hidden(need, answer);
    credential?.refused(secret);
    const rotated = await this.secret(need);
    if (!rotated || rotated.equals(secret)) throw refused(answer);
    const again = await this.#loginWith(rotated, issuer, need);
    if (!isRefusal(again)) return again;
    throw lockout.isRefused(rotated) ? refused(again) : this.#hidden(need, again);
  }

  /** What the service answers to a login for `need`, or its refusal, which may be about the repository alone. */
  #loginWith(secret: AccountSecret, issuer: Issuer, need: Need): Promise<unknown> {
    const show = (scope: string | undefined, suspicion?: AbortSignal): Promise<unknown> => {
      const shown = secret.isIdentity
        ? this.#refresh(secret, issuer, need, scope, suspicion)
        : this.#send(this.#get(issuer, scope, secret), need, suspicion);
      return shown.catch((error: unknown) => {
        if (isRefusal(error)) return error;
        throw error;
      });
    };
    return this.#options.lockout.tryLogin(secret, {
      send: (suspicion) => show(scopeOf(need), suspicion),
      isRefusal,
      // As a client logs in before it names anything.
      own: async () => !isRefusal(await show(undefined)),
    });
  }

  async #refresh(
    secret: AccountSecret,
    issuer: Issuer,
    need: Need,
    scope: string | undefined,
    suspicion: AbortSignal | undefined,
  ): Promise<unknown> {
    const { realm, service } = issuer;
    const form = {
      ...secret.refreshGrant(),
      ...(service === undefined ? {} : { service }),
      ...(scope === undefined ? {} : { scope }),
      client_id: "hubcap",
    };
    try {
      return await this.#send(this.#post(realm, form), need, suspicion);
    } catch (error) {
      if (!(error instanceof UpstreamError && error.kind === "denied" && noPost.has(error.status ?? 0)))
        throw error;
      return this.#send(this.#get(issuer, scope, secret), need, suspicion);
    }
  }

  /** The account is fine: the service hides the repository from it. */
  #hidden({ repository }: Need, cause: UpstreamError): UpstreamError {
    const { name, credential } = this.#options;
    const message = `${name} denies account "${credential?.account}" access to ${repository.name}, or it does not exist`;
    return new UpstreamError("denied", message, { status: 401, cause });
  }

  /** The JSON of a 200. */
  async #send(
    message: HttpRequest,
    { repository, purpose }: Need,
    suspicion?: AbortSignal,
  ): Promise<unknown> {
    const { gate, client, tokenMs } = this.#options;
    // Without a signal: the client whose request began it may leave while others need the token.
    const what = `a token for ${repository.name}`;
    const counted = { kind: "token", repository, purpose, what } as const;
    const reply = await gate.pass(counted, suspicion, () => client.send(message));
    if (reply.status !== 200) throw this.#refusal(reply);
    const text = (await reply.read(maxBytes, tokenMs)).toString();
    try {
      return JSON.parse(text);
    } catch {
      // The parser's message quotes the text, which may hold a token.
      throw new UpstreamError("corrupt", `the token service ${reply.url.host} did not answer with JSON`);
    }
  }

  #get({ realm, service }: Issuer, scope: string | undefined, secret?: AccountSecret): HttpRequest {
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set("service", service);
    if (scope !== undefined) url.searchParams.set("scope", scope);
    return this.#message("GET", url, secret ? { authorization: secret.basic() } : {});
  }

  #post(url: URL, form: Readonly<Record<string, string>>): HttpRequest {
    const type = { "content-type": "application/x-www-form-urlencoded" };
    return { ...this.#message("POST", url, type), body: new URLSearchParams(form).toString() };
  }

  #message(method: "GET" | "POST", url: URL, headers: Record<string, string>): HttpRequest {
    const { userAgent, tokenMs } = this.#options;
    const common = { "user-agent": userAgent, accept: "application/json", "accept-encoding": "identity" };
    return { method, url, headers: { ...common, ...headers }, headersMs: tokenMs };
  }

  #refusal(reply: Reply): UpstreamError {
    reply.discard();
    const { status, url } = reply;
    if (status >= 300 && status < 400) {
      return new UpstreamError("corrupt", `the token service ${url.host} redirects, which is not followed`, {
        status,
      });
    }
    const account = this.#options.credential?.account;
    return new UpstreamError(
      "denied",
      `the token service ${url.host} refused account "${account ?? "anonymous"}" (${status})`,
      { status },
    );
  }
}

/** The scope is ours, whatever the challenge said. */
function scopeOf({ repository }: Need): string {
  return `repository:${repository.name}:pull`;
}

function keyOf({ realm, service }: Issuer, need: Need): string {
  return `${realm.href} ${service ?? ""} ${scopeOf(need)}`;
}

function isRefusal(error: unknown): error is UpstreamError {
  return error instanceof UpstreamError && error.kind === "denied" && error.status === 401;
}

/** The refusal of an account, which is not about one repository. */
function refused({ message, status }: UpstreamError): UpstreamError {
  return new UpstreamError("denied", message, { status, reason: "credential-refused" });
}

function tokenIn(answer: unknown, realm: URL): { token: string; lifeMs: number } {
  const fields = typeof answer === "object" && answer !== null ? (answer as Record<string, unknown>) : {};
  const token = fields["token"] || fields["access_token"];
  // It becomes a header: visible characters only.
  if (typeof token !== "string" || !/^[\x21-\x7e]+$/.test(token)) {
    throw new UpstreamError("corrupt", `the token service ${realm.host} gave no token`);
  }
  const expiresIn = Number(fields["expires_in"]);
  const seconds = expiresIn > 0 ? Math.min(expiresIn, longestLifeSeconds) : defaultLifeSeconds;
  return { token, lifeMs: seconds * 1000 };
}
