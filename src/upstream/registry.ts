/** One registry over HTTP, as the distribution-spec says; what it answers is checked as far as it can be. */
import type { buildConnector } from "undici";
import type { Clock } from "../async/clock.ts";
import { TimeSlices } from "../async/slices.ts";
import { manifestTypes, maxManifestBytes, ociIndex, type Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, hexOf, type Digest } from "../oci/digest.ts";
import { isDigest, parseTag, type Reference, type Repository } from "../oci/reference.ts";
import type { Bucket, Purpose } from "../quota/quota.ts";
import { Authority } from "./auth/authority.ts";
import {
  blobStream,
  type BlobStream,
  fetchedManifest,
  lengthIn,
  readAs,
  resolvedOf,
  unknownManifest,
  type FetchedManifest,
  type ManifestHead,
  Exchange,
  type UpstreamRequest,
} from "./exchange.ts";
import {
  watchCertificates,
  blobConnections,
  defaultTimeouts,
  HttpClient,
  type Reply,
  type Timeouts,
} from "./net/httpClient.ts";
import { type Credential, Lockout } from "./auth/credential.ts";
import { UpstreamError } from "./error.ts";
import { Gate, type Observation, Health, pinged } from "./gate.ts";
import { pages, tagsIn, type Page } from "./pages.ts";
import { ConnectionPool } from "./net/connectionPool.ts";
import { Tokens } from "./auth/token.ts";
import packageJson from "../../package.json" with { type: "json" };

/** What caused a request, and how long it may take. The signal ends the wait for a reply; `cancel` ends a blob's bytes. */
export interface RequestOptions {
  readonly purpose: Purpose;
  readonly signal?: AbortSignal;
}

/** A registry we pull from. Every method throws UpstreamError, or the reason of the signal. */
export interface Upstream {
  readonly name: string;
  readonly health: Pick<Health, "failures" | "knownDown" | "isFailing">;
  /** Without a digest when the upstream answers only GET: then it has not even said that it has the manifest. */
  headManifest(repository: Repository, reference: Reference, options: RequestOptions): Promise<ManifestHead>;
  /** Verified: it has the digest that was requested or announced, and is a manifest. */
  getManifest(
    repository: Repository,
    reference: Reference,
    options: RequestOptions,
  ): Promise<FetchedManifest>;
  headBlob(
    repository: Repository,
    digest: Digest,
    options: RequestOptions,
  ): Promise<{ readonly size: number | undefined }>;
  /** Everything from `offset` on, or more. Not verified: the reader has to. */
  getBlob(
    repository: Repository,
    digest: Digest,
    offset: number,
    options: RequestOptions,
  ): Promise<BlobStream>;
  /** All tags, in the upstream's order. */
  listTags(repository: Repository, options: RequestOptions): Promise<string[]>;
  /** All referrers; none when the upstream knows none or the subject is absent. */
  referrers(repository: Repository, subject: Digest, options: RequestOptions): Promise<Descriptor[]>;
  close(): Promise<void>;
}

export interface RegistryOptions {
  /** The source host under which it is configured. */
  readonly name: string;
  readonly url: string;
  /** The only origins that may see the credential, besides the registry itself when it asks for Basic. */
  readonly tokenRealms: readonly string[];
  /** The account that all requests use; without one they are anonymous. */
  readonly credential: Credential | undefined;
  /** Needed for http, and for any address that is not public. */
  readonly allowPrivateAddresses: boolean;
  /** Certificates (PEM) that are trusted besides the system's. */
  readonly ca?: string;
  readonly timeouts?: Partial<Timeouts>;
  readonly bucket: Bucket;
  readonly observe: (observation: Observation) => void;
  /** Called with the earliest end of the certificates of the registry and its token service, in ms since the epoch. */
  readonly onCertificate?: (notAfter: number) => void;
  readonly clock: Clock;
  /** Opens connections; the guarded connector unless given. */
  readonly connect?: buildConnector.connector;
}

/** What all accounts at a registry share. */
interface SharedConnections {
  readonly client: HttpClient;
  readonly pool: ConnectionPool;
}

// A list of tags is mostly short; a registry that ignores `n` sends all at once.
const maxTagPageBytes = 16 * 1024 * 1024;

/** One registry over HTTP. */
export class Registry implements Upstream {
  readonly name: string;
  readonly health: Health;
  readonly #options: RegistryOptions;
  readonly #base: URL;
  readonly #shared: SharedConnections;
  readonly #exchange: Exchange;

  constructor(options: RegistryOptions, shared?: SharedConnections) {
    const { name, credential, bucket, observe, clock, allowPrivateAddresses, ca, connect, tokenRealms } =
      options;
    this.#options = options;
    this.name = name;
    this.health = new Health(clock);
    this.#base = new URL(`${options.url.replace(/\/+$/, "")}/v2/`);
    if (this.#base.protocol !== "https:" && !allowPrivateAddresses) {
      throw new TypeError(
        `${name}: only https is spoken with an upstream that may not have private addresses`,
      );
    }
    const userAgent = `hubcap/${packageJson.version}`;
    const timeouts = { ...defaultTimeouts, ...options.timeouts };
    const lockout = new Lockout(name, credential?.account ?? "anonymous", clock);
    const onCertificate =
      options.onCertificate && watchCertificates([this.#base.origin, ...tokenRealms], options.onCertificate);
    const { tokenMs, connectionMs } = timeouts;
    const hosts = [this.#base.href, ...tokenRealms].map((url) =>
      new URL(url).hostname.replace(/^\[|\]$/g, ""),
    );
    this.#shared = shared ?? {
      client: new HttpClient({ allowPrivateAddresses, hosts, ca, timeouts, onCertificate, connect, clock }),
      pool: new ConnectionPool({ name, most: blobConnections, waitMs: connectionMs, clock }),
    };
    const { client, pool } = this.#shared;
    const ping = (headersMs: number, shown: { readonly authorization?: string } = {}): Promise<Reply> => {
      const headers = { "user-agent": userAgent, "accept-encoding": "identity", ...shown };
      return client.send({ method: "GET", url: this.#base, headers, headersMs });
    };
    const gate = new Gate({ name, bucket, health: this.health, ping, observe, clock });
    const tokens = new Tokens({
      name,
      credential,
      lockout,
      gate,
      client,
      bucket,
      tokenMs,
      userAgent,
      clock,
    });
    const authority = new Authority({
      name,
      registry: this.#base,
      tokenRealms,
      credential,
      lockout,
      tokens,
      ping: (authorization, { repository, purpose }) =>
        gate.pass({ kind: "ping", repository, purpose, what: pinged }, undefined, () =>
          ping(timeouts.headersMs, { authorization }),
        ),
    });
    this.#exchange = new Exchange({
      name,
      base: this.#base,
      ping: () => ping(timeouts.headersMs),
      authority,
      gate,
      pool,
      client,
      timeouts,
      userAgent,
    });
  }

  async headManifest(
    repository: Repository,
    reference: Reference,
    options: RequestOptions,
  ): Promise<ManifestHead> {
    try {
      const reply = await this.#fetchManifest("HEAD", repository, reference, options);
      reply.discard();
      return resolvedOf(reply, reference);
    } catch (error) {
      if (error instanceof UpstreamError && knowsNoHead.has(error.status ?? 0)) return unknownManifest;
      throw error;
    }
  }

  async getManifest(
    repository: Repository,
    reference: Reference,
    options: RequestOptions,
  ): Promise<FetchedManifest> {
    return fetchedManifest(await this.#fetchManifest("GET", repository, reference, options), reference);
  }

  async headBlob(
    repository: Repository,
    digest: Digest,
    options: RequestOptions,
  ): Promise<{ size: number | undefined }> {
    const reply = await this.#fetchBlob("HEAD", repository, digest, {}, options);
    reply.discard();
    // A client that may see it may have it, so a page to log in at must not pass for it.
    if (/^text\/html\b/i.test(String(reply.headers["content-type"])))
      throw new UpstreamError("corrupt", `${reply.url.host} sent a page in place of a blob`);
    return { size: lengthIn(reply.headers) };
  }

  async getBlob(
    repository: Repository,
    digest: Digest,
    offset: number,
    options: RequestOptions,
  ): Promise<BlobStream> {
    const headers = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const { purpose, signal } = options;
    if (!signal)
      return blobStream(await this.#fetchBlob("GET", repository, digest, headers, options), offset);
    // undici would apply the signal to the body too, which may take hours.
    const waiting = new AbortController();
    const leave = (): void => waiting.abort(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave);
    try {
      const own = { purpose, signal: waiting.signal };
      return blobStream(await this.#fetchBlob("GET", repository, digest, headers, own), offset);
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  async listTags(repository: Repository, options: RequestOptions): Promise<string[]> {
    const tags = new Set<string>();
    const slices = new TimeSlices();
    // 1000 is the most that ECR takes.
    for await (const page of this.#tagPages(repository, 1000, options)) {
      for (const tag of tagsIn(page)) {
        if (parseTag(tag)) tags.add(tag);
        if (tags.size % tagsPerTurn === 0) await slices.rest();
      }
    }
    return [...tags];
  }

  async referrers(repository: Repository, subject: Digest, options: RequestOptions): Promise<Descriptor[]> {
    const first = this.#address(repository, `referrers/${subject}`);
    const what = `referrers of ${repository.name}@${subject}`;
    const fetch = (url: URL): Promise<Reply> =>
      this.#fetch("referrers", "GET", url, { accept: ociIndex }, repository, what, options);
    const referrers = new Map<Digest, Descriptor>();
    try {
      for await (const { reply, bytes } of pages(first, maxManifestBytes, fetch)) {
        for (const child of readAs(reply, bytes).children) referrers.set(child.digest, child);
      }
    } catch (error) {
      if (!(error instanceof UpstreamError && knowsNoReferrers.has(error.status ?? 0))) throw error;
      return this.#taggedReferrers(repository, subject, options);
    }
    return [...referrers.values()];
  }

  async close(): Promise<void> {
    await this.#shared.client.close();
  }

  /** The same registry as another account sees it, over the same connections, which end with this one. */
  as(credential: Credential | undefined, bucket: Bucket): Registry {
    return new Registry({ ...this.#options, credential, bucket }, this.#shared);
  }

  /** Does a repository show any of its tags? @throws UpstreamError */
  async showsTags(repository: Repository, options: RequestOptions): Promise<boolean> {
    // One page is enough. A reply that is no list, such as a page to log in at, says nothing.
    for await (const page of this.#tagPages(repository, 1, options)) return tagsIn(page).length > 0;
    return false;
  }

  #tagPages(repository: Repository, tagsEach: number, options: RequestOptions): AsyncGenerator<Page> {
    const first = this.#address(repository, `tags/list?n=${tagsEach}`);
    return pages(first, maxTagPageBytes, (url) =>
      this.#fetch("tags", "GET", url, {}, repository, `tags of ${repository.name}`, options),
    );
  }

  /** The fallback for registries without the referrers API (distribution-spec "Referrers Tag Schema"). */
  async #taggedReferrers(
    repository: Repository,
    subject: Digest,
    options: RequestOptions,
  ): Promise<Descriptor[]> {
    const tag = parseTag(`${algorithmOf(subject).slice(0, 32)}-${hexOf(subject).slice(0, 64)}`);
    if (!tag) return [];
    try {
      // Mostly there is no such tag, and to learn that by HEAD costs no pull.
      const { digest } = await this.headManifest(repository, tag, options);
      const reply = await this.#fetchManifest("GET", repository, digest ?? tag, options);
      return [...(await fetchedManifest(reply, digest ?? tag)).parsed.children];
    } catch (error) {
      if (error instanceof UpstreamError && error.kind === "absent") return [];
      throw error;
    }
  }

  #fetchManifest(
    method: "GET" | "HEAD",
    repository: Repository,
    reference: Reference,
    options: RequestOptions,
  ): Promise<Reply> {
    const url = this.#address(repository, `manifests/${reference}`);
    const what = `manifest ${repository.name}${isDigest(reference) ? "@" : ":"}${reference}`;
    // All types, whatever a client can read: for fewer, a registry converts, and the digest changes.
    const headers = { accept: manifestTypes.join(", ") };
    return this.#fetch(
      method === "GET" ? "manifest-get" : "manifest-head",
      method,
      url,
      headers,
      repository,
      what,
      options,
    );
  }

  #fetchBlob(
    method: "GET" | "HEAD",
    repository: Repository,
    digest: Digest,
    headers: Readonly<Record<string, string>>,
    options: RequestOptions,
  ): Promise<Reply> {
    const url = this.#address(repository, `blobs/${digest}`);
    return this.#fetch(
      "blob",
      method,
      url,
      headers,
      repository,
      `blob ${repository.name}@${digest}`,
      options,
    );
  }

  #fetch(
    kind: UpstreamRequest["kind"],
    method: "GET" | "HEAD",
    url: URL,
    headers: Readonly<Record<string, string>>,
    repository: Repository,
    what: string,
    { purpose, signal }: RequestOptions,
  ): Promise<Reply> {
    return this.#exchange.fetch({ kind, method, url, headers, repository, what, purpose, signal });
  }

  #address({ name }: Repository, rest: string): URL {
    return new URL(`${name}/${rest}`, this.#base);
  }
}

// Some registries do not answer HEAD; containerd uses GET there, too.
/** How many tags are read before others may have a turn: there may be hundreds of thousands on one page. */
const tagsPerTurn = 500;

const knowsNoHead = new Set([405, 501]);

// Registries without the API answer in different ways.
const knowsNoReferrers = new Set([404, 405, 501]);
