/** The upstream room's face: one registry, asked as the distribution-spec says and believed as little as possible. */
import type { buildConnector } from "undici";
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
} from "./replies.ts";
import { watchCertificates } from "./net/connector.ts";
import { type Credential, Lockout } from "./auth/credential.ts";
import { UpstreamError } from "./error.ts";
import { Exchange, type UpstreamRequest } from "./exchange.ts";
import { Gate, type Observation, Health } from "./gate.ts";
import { pages, tagsIn, type Page } from "./pages.ts";
import { ConnectionPool } from "./net/connectionPool.ts";
import { Tokens } from "./auth/token.ts";
import {
  blobConnections,
  defaultTimeouts,
  discard,
  HttpClient,
  type Reply,
  type Timeouts,
} from "./net/httpClient.ts";
import packageJson from "../../package.json" with { type: "json" };

/** Who asks, and how long they wait. The signal ends the wait for an answer; a blob's bytes are ended by `cancel`. */
export interface RequestOptions {
  readonly purpose: Purpose;
  readonly signal?: AbortSignal;
}

/** A registry we pull from. Every method throws UpstreamError, or the reason of the signal. */
export interface Upstream {
  readonly name: string;
  readonly health: Pick<Health, "failures" | "knownDown">;
  /** Without a digest when the upstream tells nothing but by GET: then it has not even said that it has the manifest. */
  headManifest(repository: Repository, reference: Reference, asked: RequestOptions): Promise<ManifestHead>;
  /** Proven: of the digest that was asked for or announced, and a manifest. */
  getManifest(repository: Repository, reference: Reference, asked: RequestOptions): Promise<FetchedManifest>;
  headBlob(
    repository: Repository,
    digest: Digest,
    asked: RequestOptions,
  ): Promise<{ readonly size: number | undefined }>;
  /** Everything from `offset` on, or more. Not proven: whoever reads it has to. */
  getBlob(repository: Repository, digest: Digest, offset: number, asked: RequestOptions): Promise<BlobStream>;
  /** All tags, in the upstream's order. */
  listTags(repository: Repository, asked: RequestOptions): Promise<string[]>;
  /** All referrers; none when the upstream knows none or the subject is absent. */
  referrers(repository: Repository, subject: Digest, asked: RequestOptions): Promise<Descriptor[]>;
  close(): Promise<void>;
}

export interface RegistryOptions {
  /** The source host under which it is configured. */
  readonly name: string;
  readonly url: string;
  /** The only origins that may see the credential, besides the registry itself when it asks for Basic. */
  readonly tokenRealms: readonly string[];
  readonly credential: Credential;
  /** Needed for http, and for any address that is not public. */
  readonly allowPrivateAddresses: boolean;
  /** Certificates (PEM) that are trusted besides the system's. */
  readonly ca?: string;
  readonly timeouts?: Partial<Timeouts>;
  readonly bucket: Bucket;
  readonly observe: (observation: Observation) => void;
  /** Told until when, in ms since the epoch, the first of the certificates is good that the registry and its token service showed. */
  readonly onCertificate?: (notAfter: number) => void;
  readonly now: () => number;
  /** Stands in for the guarded connector in tests of the guard. */
  readonly connect?: buildConnector.connector;
}

/** What all accounts at a registry have in common. */
interface SharedConnections {
  readonly wire: HttpClient;
  readonly slots: ConnectionPool;
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
    const { name, credential, bucket, observe, now, allowPrivateAddresses, ca, connect, tokenRealms } =
      options;
    this.#options = options;
    this.name = name;
    this.health = new Health(now);
    this.#base = new URL(`${options.url.replace(/\/+$/, "")}/v2/`);
    if (this.#base.protocol !== "https:" && !allowPrivateAddresses) {
      throw new TypeError(
        `${name}: only https is spoken with an upstream that may not have private addresses`,
      );
    }
    const userAgent = `hubcap/${packageJson.version}`;
    const timeouts = { ...defaultTimeouts, ...options.timeouts };
    const gate = new Gate({ name, bucket, health: this.health, observe, now });
    const lockout = new Lockout(name, credential.account, now);
    const certified =
      options.onCertificate && watchCertificates([this.#base.origin, ...tokenRealms], options.onCertificate);
    const { tokenMs, connectionMs: slotMs } = timeouts;
    this.#shared = shared ?? {
      wire: new HttpClient({ allowPrivateAddresses, ca, timeouts, onCertificate: certified, connect }),
      slots: new ConnectionPool({ name, most: blobConnections, waitMs: slotMs }),
    };
    const { wire, slots } = this.#shared;
    const tokens = new Tokens({
      name,
      credential,
      lockout,
      gate,
      client: wire,
      bucket,
      tokenMs,
      userAgent,
      now,
    });
    const authority = new Authority({ name, registry: this.#base, tokenRealms, credential, lockout, tokens });
    this.#exchange = new Exchange({
      name,
      base: this.#base,
      authority,
      gate,
      pool: slots,
      client: wire,
      timeouts,
      userAgent,
    });
  }

  async headManifest(
    repository: Repository,
    reference: Reference,
    asked: RequestOptions,
  ): Promise<ManifestHead> {
    try {
      const reply = await this.#askManifest("HEAD", repository, reference, asked);
      discard(reply);
      return resolvedOf(reply, reference);
    } catch (error) {
      if (error instanceof UpstreamError && knowsNoHead.has(error.status ?? 0)) return unknownManifest;
      throw error;
    }
  }

  async getManifest(
    repository: Repository,
    reference: Reference,
    asked: RequestOptions,
  ): Promise<FetchedManifest> {
    return fetchedManifest(await this.#askManifest("GET", repository, reference, asked), reference);
  }

  async headBlob(
    repository: Repository,
    digest: Digest,
    asked: RequestOptions,
  ): Promise<{ size: number | undefined }> {
    const reply = await this.#askBlob("HEAD", repository, digest, {}, asked);
    discard(reply);
    // That it is there opens it to whoever asked, so a page to log in at must not pass for it.
    if (/^text\/html\b/i.test(String(reply.headers["content-type"])))
      throw new UpstreamError("corrupt", `${reply.url.host} sent a page in place of a blob`);
    return { size: lengthIn(reply.headers) };
  }

  async getBlob(
    repository: Repository,
    digest: Digest,
    offset: number,
    asked: RequestOptions,
  ): Promise<BlobStream> {
    const headers = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const { purpose, signal } = asked;
    if (!signal) return blobStream(await this.#askBlob("GET", repository, digest, headers, asked), offset);
    // undici would apply the signal to the body too, which may take hours.
    const waiting = new AbortController();
    const leave = (): void => waiting.abort(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave);
    try {
      const patient = { purpose, signal: waiting.signal };
      return blobStream(await this.#askBlob("GET", repository, digest, headers, patient), offset);
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  async listTags(repository: Repository, asked: RequestOptions): Promise<string[]> {
    const tags = new Set<string>();
    // 1000 is the most that ECR takes.
    for await (const page of this.#tagPages(repository, 1000, asked)) {
      for (const tag of tagsIn(page)) if (parseTag(tag)) tags.add(tag);
    }
    return [...tags];
  }

  async referrers(repository: Repository, subject: Digest, asked: RequestOptions): Promise<Descriptor[]> {
    const first = this.#address(repository, `referrers/${subject}`);
    const what = `referrers of ${repository.name}@${subject}`;
    const ask = (url: URL): Promise<Reply> =>
      this.#ask("referrers", "GET", url, { accept: ociIndex }, repository, what, asked);
    const referrers = new Map<Digest, Descriptor>();
    try {
      for await (const { reply, bytes } of pages(first, maxManifestBytes, ask)) {
        for (const child of readAs(reply, bytes).children) referrers.set(child.digest, child);
      }
    } catch (error) {
      if (!(error instanceof UpstreamError && knowsNoReferrers.has(error.status ?? 0))) throw error;
      return this.#taggedReferrers(repository, subject, asked);
    }
    return [...referrers.values()];
  }

  async close(): Promise<void> {
    await this.#shared.wire.close();
  }

  /** The same registry as another account sees it, over the same connections, which end with this one. */
  as(credential: Credential, bucket: Bucket): Registry {
    return new Registry({ ...this.#options, credential, bucket }, this.#shared);
  }

  /** Does a repository show any of its tags? @throws UpstreamError */
  async showsTags(repository: Repository, asked: RequestOptions): Promise<boolean> {
    // One page is enough to tell, and an answer that is no list, such as a page to log in at, tells nothing.
    for await (const page of this.#tagPages(repository, 1, asked)) return tagsIn(page).length > 0;
    return false;
  }

  #tagPages(repository: Repository, tagsEach: number, asked: RequestOptions): AsyncGenerator<Page> {
    const first = this.#address(repository, `tags/list?n=${tagsEach}`);
    return pages(first, maxTagPageBytes, (url) =>
      this.#ask("tags", "GET", url, {}, repository, `tags of ${repository.name}`, asked),
    );
  }

  /** The fallback for registries without the referrers API (distribution-spec "Referrers Tag Schema"). */
  async #taggedReferrers(
    repository: Repository,
    subject: Digest,
    asked: RequestOptions,
  ): Promise<Descriptor[]> {
    const tag = parseTag(`${algorithmOf(subject).slice(0, 32)}-${hexOf(subject).slice(0, 64)}`);
    if (!tag) return [];
    try {
      // Mostly there is no such tag, and to learn that by HEAD costs no pull.
      const { digest } = await this.headManifest(repository, tag, asked);
      const reply = await this.#askManifest("GET", repository, digest ?? tag, asked);
      const { bytes } = await fetchedManifest(reply, digest ?? tag);
      return [...readAs(reply, bytes).children];
    } catch (error) {
      if (error instanceof UpstreamError && error.kind === "absent") return [];
      throw error;
    }
  }

  #askManifest(
    method: "GET" | "HEAD",
    repository: Repository,
    reference: Reference,
    asked: RequestOptions,
  ): Promise<Reply> {
    const url = this.#address(repository, `manifests/${reference}`);
    const what = `manifest ${repository.name}${isDigest(reference) ? "@" : ":"}${reference}`;
    // All types, whatever a client can read: a registry that is asked for fewer converts, and the digest changes.
    const headers = { accept: manifestTypes.join(", ") };
    return this.#ask(
      method === "GET" ? "manifest-get" : "manifest-head",
      method,
      url,
      headers,
      repository,
      what,
      asked,
    );
  }

  #askBlob(
    method: "GET" | "HEAD",
    repository: Repository,
    digest: Digest,
    headers: Readonly<Record<string, string>>,
    asked: RequestOptions,
  ): Promise<Reply> {
    const url = this.#address(repository, `blobs/${digest}`);
    return this.#ask("blob", method, url, headers, repository, `blob ${repository.name}@${digest}`, asked);
  }

  #ask(
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

// Some registries answer no HEAD; containerd asks them by GET, too.
const knowsNoHead = new Set([405, 501]);

// Registries without the API say so in different ways.
const knowsNoReferrers = new Set([404, 405, 501]);
