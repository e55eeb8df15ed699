/** What a registry is shown: nothing, Basic or a token, as its challenge asks and as far as the configuration allows. */
import { type Credential, type Lockout, type AccountSecret } from "./credential.ts";
import { UpstreamError } from "../error.ts";
import type { Issuer, Need, Tokens } from "./token.ts";
import type { Headers } from "../../quota/limits.ts";
import type { Reply } from "../net/httpClient.ts";

/** What the registry's last challenge asked for. */
type Scheme =
  | { readonly kind: "none" }
  | { readonly kind: "basic" }
  | { readonly kind: "bearer"; readonly issuer: Issuer };

/** What one request shows, and what is needed to judge its refusal. */
export type Proof =
  | { readonly kind: "none" }
  | { readonly kind: "basic"; readonly header: string; readonly secret: AccountSecret }
  | {
      readonly kind: "bearer";
      readonly header: string;
      readonly token: string;
      readonly isNew: boolean;
      readonly issuer: Issuer;
    };

interface AuthorityOptions {
  readonly name: string;
  readonly registry: URL;
  readonly tokenRealms: readonly string[];
  readonly credential: Credential | undefined;
  readonly lockout: Lockout;
  readonly tokens: Tokens;
  /** Asks for the registry's `/v2/`, showing this header, in our own name. */
  readonly ping: (authorization: string, need: Need) => Promise<Reply>;
}

/** Remembers the challenge of one registry, and answers it. */
export class Authority {
  readonly #options: AuthorityOptions;
  readonly #realms: ReadonlySet<string>;
  #scheme: Scheme | undefined;

  constructor(options: AuthorityOptions) {
    this.#options = options;
    this.#realms = new Set(options.tokenRealms.map((realm) => new URL(realm).origin));
  }

  /** Whether the registry has said what it wants to be shown. */
  get isKnown(): boolean {
    return this.#scheme !== undefined;
  }

  /** Reads the reply to a request that showed nothing. @throws UpstreamError "corrupt" when it names a realm that is not allowed. */
  learn(status: number, headers: Headers): void {
    this.#scheme = (status === 401 ? this.#schemeIn(headers) : undefined) ?? { kind: "none" };
  }

  /** What to show with a request. @throws UpstreamError */
  async prove(need: Need): Promise<Proof> {
    const scheme = this.#scheme;
    if (scheme?.kind === "bearer") {
      const { token, isNew } = await this.#options.tokens.get(scheme.issuer, need);
      return { kind: "bearer", header: `Bearer ${token}`, token, isNew, issuer: scheme.issuer };
    }
    const secret = scheme?.kind === "basic" ? await this.#options.tokens.secret(need) : undefined;
    return secret ? { kind: "basic", header: secret.basic(), secret } : { kind: "none" };
  }

  /**
   * The reply to a request that shows `proof`. Basic is a login, so the lockout learns how it went.
   * @throws UpstreamError "denied" while the secret may not be tried again, and whatever `send` throws.
   */
  async login(
    proof: Proof,
    need: Need,
    send: (signal: AbortSignal | undefined) => Promise<Reply>,
  ): Promise<Reply> {
    const { signal } = need;
    if (proof.kind !== "basic") return send(signal);
    const { lockout, ping } = this.#options;
    const login = {
      send: (suspicion: AbortSignal) => send(signal ? AbortSignal.any([signal, suspicion]) : suspicion),
      isRefusal: ({ status }: Reply) => status === 401,
      own: async () => {
        const reply = await ping(proof.header, need);
        reply.discard();
        return reply.status !== 401;
      },
    };
    return lockout.tryLogin(proof.secret, login, signal);
  }

  /**
   * What to show instead of `refused`, to which the registry answered 401.
   * @throws UpstreamError "denied" when there is nothing that would be taken.
   */
  async proveAnew(refused: Proof, headers: Headers, need: Need): Promise<Proof> {
    const { tokens, credential, lockout } = this.#options;
    const scheme = this.#schemeIn(headers);
    if (scheme) this.#scheme = scheme;
    if (refused.kind === "bearer") {
      tokens.forget(refused.issuer, need, refused.token);
      const hasMoved =
        scheme !== undefined &&
        (scheme.kind !== "bearer" || scheme.issuer.realm.href !== refused.issuer.realm.href);
      // "insufficient_scope" (RFC 6750 3.1) is about the account, not the token: Docker Hub's answer for "no such repository".
      const isFinal = refused.isNew || errorIn(headers) === "insufficient_scope";
      if (isFinal && !hasMoved) throw this.denied(need);
    }
    if (refused.kind === "basic") {
      if (!lockout.isRefused(refused.secret)) throw this.denied(need);
      credential?.refused(refused.secret);
      const rotated = await tokens.secret(need);
      if (!rotated || rotated.equals(refused.secret)) throw lockout.refusal();
    }
    const proof = await this.prove(need);
    if (proof.kind === "none") throw this.denied(need);
    return proof;
  }

  /** Notes how the registry answered `proof` in the end. */
  settled(proof: Proof, status: number, need: Need): void {
    // A token says what its account may do, which may grow: the next request gets a new one.
    if (proof.kind === "bearer" && (status === 401 || status === 403)) {
      this.#options.tokens.forget(proof.issuer, need, proof.token);
    }
  }

  /** The error for a refusal, without the registry's reasons: many registries hide what exists behind it. */
  denied({ repository }: Pick<Need, "repository">, status = 401): UpstreamError {
    const { name, credential } = this.#options;
    const subject = credential ? `account "${credential.account}"` : "anonymous pulls";
    const message = `${name} denies ${subject} access to ${repository.name}, or it does not exist`;
    return new UpstreamError("denied", message, { status });
  }

  #schemeIn(headers: Headers): Scheme | undefined {
    const challenges = parseChallenges(headers["www-authenticate"]);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer) {
      const realm = this.#allowedRealm(bearer.parameters.get("realm") ?? "");
      const service = bearer.parameters.get("service");
      return { kind: "bearer", issuer: { realm, service } };
    }
    return challenges.some(({ scheme }) => scheme === "basic") ? { kind: "basic" } : undefined;
  }

  /** The upstream names the realm, but the credential is sent only where the configuration allows (CVE-2026-33540). */
  #allowedRealm(text: string): URL {
    const { name, registry } = this.#options;
    const realm = URL.parse(text);
    const isAllowed =
      realm !== null &&
      this.#realms.has(realm.origin) &&
      (realm.protocol === "https:" || registry.protocol === "http:") &&
      realm.username === "" &&
      realm.password === "";
    if (isAllowed) return realm;
    const named = realm ? realm.origin : "no address";
    throw new UpstreamError(
      "corrupt",
      `${name} sends us for a token to ${named}, which is not among its tokenRealms`,
      { reason: "token-realm" },
    );
  }
}

function errorIn(headers: Headers): string | undefined {
  const bearer = parseChallenges(headers["www-authenticate"]).find(({ scheme }) => scheme === "bearer");
  return bearer?.parameters.get("error");
}

/** One challenge. The scheme and the names of parameters are in lower case; of a repeated parameter the first counts. */
interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const maxLength = 8192;
const maxChallenges = 16;

const tokenAt = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const spaceAt = /[ \t]*/y;
const bareValueAt = /[^\s,]*/y;
const quotedAt = /"((?:[^"\\]|\\.)*)"?/sy;

/** All challenges of one answer, in order. Reads what registries really send, skips what cannot be read, never throws. */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const values = header === undefined ? [] : typeof header === "string" ? [header] : header;
  return values.flatMap((value) => [...challengesIn(value.slice(0, maxLength))]).slice(0, maxChallenges);
}

/** One pass from left to right: a word followed by `=` is a parameter of the challenge before it, any other word begins one. */
function* challengesIn(text: string): Generator<Challenge> {
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text) ?? undefined;
    if (found) at = pattern.lastIndex;
    return found;
  };
  let open: { scheme: string; parameters: Map<string, string> } | undefined;
  while (at < text.length) {
    const word = take(tokenAt)?.[0].toLowerCase();
    if (word === undefined) {
      at += 1;
      continue;
    }
    take(spaceAt);
    if (text[at] !== "=") {
      if (open) yield open;
      open = { scheme: word, parameters: new Map() };
      continue;
    }
    at += 1;
    take(spaceAt);
    const quoted = take(quotedAt);
    const value = quoted ? (quoted[1] ?? "").replaceAll(/\\(.)/gs, "$1") : (take(bareValueAt)?.[0] ?? "");
    if (open && !open.parameters.has(word)) open.parameters.set(word, value);
  }
  if (open) yield open;
}
