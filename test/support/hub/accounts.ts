/** Accounts, their passwords and the lock-out after too many wrong ones, and the tokens that were issued. */
import { createHash, createHmac, randomBytes, randomUUID } from "node:crypto";
import type { Limit } from "./limit.ts";

export interface Account {
  readonly password: string;
  /** Pulls per window. Default 200, the free account's. */
  readonly limit?: Limit;
  /** A refresh token that the OAuth2 form of the token request takes for this account. */
  readonly identityToken?: string;
}

/** What a token says. `account` is undefined for an anonymous one. */
export interface TokenClaims {
  readonly account: string | undefined;
  readonly repositories: readonly string[];
}

export type Login = "right" | "wrong" | "locked";

// Docker staff in docker/hub-feedback#2201: about ten minutes, by user name.
const lockSeconds = 600;

export class Accounts {
  readonly #now: () => number;
  readonly #accounts: Map<string, Account>;
  readonly #failures = new Map<string, { count: number; at: number }>();
  readonly #failuresAllowed: number;
  #secret = randomBytes(32);
  /** Logins with a wrong password, and logins while locked. */
  failedLogins = 0;

  constructor(accounts: Readonly<Record<string, Account>>, failuresAllowed: number, now: () => number) {
    this.#now = now;
    this.#accounts = new Map(Object.entries(accounts));
    this.#failuresAllowed = failuresAllowed;
  }

  limitOf(name: string): Limit {
    return this.#accounts.get(name)?.limit ?? 200;
  }

  /** Changes a password, as a rotated credential would. */
  setPassword(name: string, password: string): void {
    this.#accounts.set(name, { ...this.#accounts.get(name), password });
  }

  locked(name: string): boolean {
    const failures = this.#failures.get(name);
    return (
      failures !== undefined &&
      failures.count >= this.#failuresAllowed &&
      this.#now() - failures.at < lockSeconds * 1000
    );
  }

  login(name: string, password: string): Login {
    if (this.locked(name)) {
      this.failedLogins += 1;
      return "locked";
    }
    if (this.#accounts.get(name)?.password === password) {
      this.#failures.delete(name);
      return "right";
    }
    this.failedLogins += 1;
    this.#failures.set(name, { count: (this.#failures.get(name)?.count ?? 0) + 1, at: this.#now() });
    return "wrong";
  }

  /** The account of an identity token. */
  identified(token: string): string | undefined {
    return [...this.#accounts].find(([, account]) => account.identityToken === token)?.[0];
  }

  identityTokenOf(name: string): string {
    const account = this.#accounts.get(name);
    const identityToken = account?.identityToken ?? randomUUID();
    if (account !== undefined) {
      this.#accounts.set(name, { ...account, identityToken });
    }
    return identityToken;
  }

  /** A token in the form of Docker Hub's (its claims are what clients may read), valid for `seconds`. */
  issue(claims: TokenClaims, seconds: number, limit: Limit, windowSeconds: number): string {
    const iat = Math.floor(this.#now() / 1000);
    const parameters =
      limit === "unlimited"
        ? undefined
        : { pull_limit: String(limit), pull_limit_interval: String(windowSeconds) };
    const payload = {
      access: claims.repositories.map((name) => ({
        type: "repository",
        name,
        actions: ["pull"],
        ...(parameters === undefined ? {} : { parameters }),
      })),
      aud: "registry.docker.io",
      exp: iat + seconds,
      iat,
      iss: "auth.docker.io",
      jti: `dckr_jti_${randomUUID()}`,
      nbf: iat - 300,
      sub: claims.account === undefined ? "" : uuidOf(claims.account),
      "https://auth.docker.io": { username: claims.account ?? "" },
    };
    const head = [{ alg: "RS256", typ: "JWT" }, payload]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    return `${head}.${this.#sign(head)}`;
  }

  /** What a token says, or undefined when it is not ours, has expired or was revoked. */
  verify(token: string): TokenClaims | undefined {
    const dot = token.lastIndexOf(".");
    const head = token.slice(0, Math.max(0, dot));
    if (this.#sign(head) !== token.slice(dot + 1)) {
      return undefined;
    }
    const payload = JSON.parse(Buffer.from(head.split(".")[1] ?? "", "base64url").toString()) as {
      exp: number;
      access: { name: string }[];
      "https://auth.docker.io": { username: string };
    };
    if (payload.exp * 1000 <= this.#now()) {
      return undefined;
    }
    const account = payload["https://auth.docker.io"].username;
    return {
      account: account === "" ? undefined : account,
      repositories: payload.access.map((entry) => entry.name),
    };
  }

  /** Makes every token that was issued worthless at once. */
  revokeAll(): void {
    this.#secret = randomBytes(32);
  }

  #sign(head: string): string {
    return createHmac("sha256", this.#secret).update(head).digest("base64url");
  }
}

/** The account's UUID, as Docker Hub shows it in `docker-ratelimit-source`. */
export function uuidOf(account: string): string {
  const hex = createHash("sha256").update(account).digest("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `a${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join("-");
}

/** User name and password of a Basic header, or undefined. */
export function readBasic(header: string | undefined): { name: string; password: string } | undefined {
  const encoded = /^Basic +(?<text>\S+)$/i.exec(header ?? "")?.groups?.["text"];
  if (encoded === undefined) {
    return undefined;
  }
  const text = Buffer.from(encoded, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { name: text.slice(0, colon), password: text.slice(colon + 1) };
}
