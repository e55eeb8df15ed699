/** One question to a registry, followed to its answer: challenge, redirects, and what the status means. */
import type { RequestKind } from "../quota/quota.ts";
import { again, type Gate } from "./gate.ts";
import type { Authority, Proof } from "./auth/authority.ts";
import { UpstreamError } from "./error.ts";
import { SingleFlight } from "../async/singleFlight.ts";
import type { ConnectionPool } from "./net/connectionPool.ts";
import type { Need } from "./auth/token.ts";
import { discard, type HttpRequest, type Reply, type Timeouts, type HttpClient } from "./net/httpClient.ts";

export interface UpstreamRequest extends Need {
  readonly kind: Exclude<RequestKind, "token" | "ping">;
  readonly method: "GET" | "HEAD";
  /** Below the registry's own address. */
  readonly url: URL;
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** What is asked for, as a message would say it. */
  readonly what: string;
}

export interface ExchangeOptions {
  /** The upstream's name, for messages. */
  readonly name: string;
  /** The address of the registry's `/v2/`. */
  readonly base: URL;
  readonly authority: Authority;
  readonly gate: Gate;
  readonly pool: ConnectionPool;
  readonly client: HttpClient;
  readonly timeouts: Timeouts;
  readonly userAgent: string;
}

/** Asks one registry. */
export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #pings = new SingleFlight<void>();

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** The answer: a 200 or 206 in no encoding. Its body must be read or discarded. @throws UpstreamError */
  async fetch(question: UpstreamRequest): Promise<Reply> {
    let reply = await this.#follow(question);
    if (reply.status === 403 && !this.#isHome(reply.url) && question.kind !== "manifest-get") {
      // A signed address may have expired on the way: the registry gives another.
      discard(reply);
      reply = await this.#follow(question);
    }
    const error = this.#judge(reply, question);
    if (!error) return reply;
    discard(reply);
    throw error;
  }

  async #follow(question: UpstreamRequest): Promise<Reply> {
    const { proof, reply: first } = await this.#prove(question);
    let reply = first;
    let isHome = true;
    const seen = new Set([question.url.href]);
    while (isRedirect(reply.status)) {
      discard(reply);
      const next = nextAddress(reply);
      if (seen.has(next.href) || seen.size > maxRedirects) {
        throw new UpstreamError("corrupt", `${this.#options.name} redirects in circles`, {
          status: reply.status,
        });
      }
      seen.add(next.href);
      // Whoever is sent away and back again was sent by a stranger, and shows nothing.
      isHome &&= this.#isHome(next);
      reply = isHome ? await this.#send(question, next, proof) : await this.#sendAway(question, next);
    }
    return reply;
  }

  /** The registry's first answer that is not a challenge we can meet. */
  async #prove(question: UpstreamRequest): Promise<{ proof: Proof; reply: Reply }> {
    const { authority, gate } = this.#options;
    // What will be refused needs no token.
    gate.check(question);
    if (!authority.isKnown) await this.#pings.join("", () => this.#ping(question), question.signal);
    const proof = await authority.prove(question);
    const reply = await this.#send(question, question.url, proof);
    if (reply.status !== 401) {
      authority.settled(proof, reply.status, question);
      return { proof, reply };
    }
    discard(reply);
    const better = await authority.proveAnew(proof, reply.headers, question);
    const second = await this.#send(question, question.url, better);
    authority.settled(better, second.status, question);
    return { proof: better, reply: second };
  }

  /** Asks the registry what it wants to be shown, so that nothing which costs a pull is spent on a challenge. */
  async #ping({ repository, purpose }: Need): Promise<void> {
    const { base, gate, authority } = this.#options;
    const message = this.#message("GET", base, {});
    const errand = { kind: "ping", repository, purpose } as const;
    const reply = await again(() => gate.pass(errand, undefined, () => this.#options.client.send(message)));
    discard(reply);
    authority.learn(reply.status, reply.headers);
  }

  #send(question: UpstreamRequest, url: URL, proof: Proof): Promise<Reply> {
    const { authority, gate, client: wire } = this.#options;
    const { kind, repository, purpose, signal } = question;
    const shown = proof.kind === "none" ? {} : { authorization: proof.header };
    const message = this.#messageFor(question, url, shown);
    const errand = { kind, repository, purpose };
    // Each try is paid for: a registry may have counted the one that broke.
    const send = (): Promise<Reply> => again(() => gate.pass(errand, signal, () => wire.send(message)));
    return this.#whenFree(message, () => authority.login(proof, question, send));
  }

  #sendAway(question: UpstreamRequest, url: URL): Promise<Reply> {
    const message = this.#messageFor(question, url, {});
    const { gate, client: wire } = this.#options;
    return this.#whenFree(message, () =>
      again(() => gate.passAside(() => wire.send(message), question.purpose.trace)),
    );
  }

  /** A download waits for its connection before it takes a permit, which others could use meanwhile. */
  #whenFree({ isBulk, url, signal }: HttpRequest, send: () => Promise<Reply>): Promise<Reply> {
    return isBulk ? this.#options.pool.hold(url.origin, signal, send) : send();
  }

  #messageFor(question: UpstreamRequest, url: URL, shown: Record<string, string>): HttpRequest {
    const { timeouts } = this.#options;
    const isBlob = question.kind === "blob";
    return {
      ...this.#message(question.method, url, { ...question.headers, ...shown }),
      headersMs: isBlob ? timeouts.blobHeadersMs : timeouts.headersMs,
      isBulk: isBlob && question.method === "GET",
      signal: question.signal,
    };
  }

  #message(method: "GET" | "HEAD", url: URL, headers: Record<string, string | string[]>): HttpRequest {
    const { userAgent, timeouts } = this.#options;
    const common = { "user-agent": userAgent, "accept-encoding": "identity" };
    return { method, url, headers: { ...common, ...headers }, headersMs: timeouts.headersMs };
  }

  #isHome(url: URL): boolean {
    return url.origin === this.#options.base.origin;
  }

  #judge({ status, headers, url }: Reply, question: UpstreamRequest): UpstreamError | undefined {
    const { name, authority } = this.#options;
    const { what } = question;
    if (status === 200 || status === 206) {
      const encoding = headers["content-encoding"] ?? "identity";
      if (encoding === "identity" || encoding === "") return undefined;
      return new UpstreamError("corrupt", `${url.host} sent ${what} in an encoding that was not asked for`, {
        status,
      });
    }
    if (status === 404 || status === 410)
      return new UpstreamError("absent", `${name} has no ${what}`, { status });
    if (status === 401 || status === 403) return authority.denied(question, status);
    const message = `${url.host} answered ${status} to a request for ${what}`;
    return new UpstreamError(status === 408 || status === 501 ? "unreachable" : "corrupt", message, {
      status,
    });
  }
}

/** So many redirects are followed for one question. */
export const maxRedirects = 5;

const maxLength = 8192;
const statuses = new Set([301, 302, 303, 307, 308]);

/** Whether an answer to GET or HEAD asks to look elsewhere. */
export function isRedirect(status: number): boolean {
  return statuses.has(status);
}

/** The address that a redirect names. @throws UpstreamError "corrupt" when it may not be followed. */
export function nextAddress({ url, status, headers }: Reply): URL {
  const { location } = headers;
  const next = typeof location === "string" && location.length <= maxLength ? URL.parse(location, url) : null;
  const refuse = (why: string): UpstreamError =>
    new UpstreamError("corrupt", `${url.host} redirects ${why}, which is not followed`, { status });
  if (!next) throw refuse("to nowhere");
  if (next.protocol !== "https:" && next.protocol !== "http:") throw refuse(`to ${next.protocol}`);
  if (next.protocol === "http:" && url.protocol === "https:") throw refuse("from https to http");
  if (next.username !== "" || next.password !== "") throw refuse("with a password in the address");
  next.hash = "";
  return next;
}
