/** The way straight to the registry, with Hubcap's own upstream module and credential. Nothing on it costs a pull. */
import { systemClock } from "../../async/clock.ts";
import type { Config } from "../../config/load.ts";
import type { Descriptor, Platform } from "../../oci/descriptor.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Reference } from "../../oci/reference.ts";
import { openCredential } from "../../upstream/auth/credentials.ts";
import type { Credential } from "../../upstream/auth/credential.ts";
import { UpstreamError } from "../../upstream/error.ts";
import { knownRegistry } from "../../upstream/presets.ts";
import { Registry } from "../../upstream/registry.ts";
import { defaultTimeouts, type Timeouts } from "../../upstream/net/httpClient.ts";
import { firstBytes } from "./mirrorClient.ts";
import type { ServerTime } from "./serverTime.ts";
import { failureOf, unnamedManifest, type DirectRequest } from "./failure.ts";
import type { Wanted } from "./image.ts";
import { inspect, touch, type Source } from "./inspect.ts";
import { msSince, type Journal } from "./journal.ts";
import { proxyFor } from "./proxy.ts";
import { reach } from "./reach.ts";
import { Finding } from "./verdicts.ts";
import { WatchingBucket } from "./watchingBucket.ts";

export interface DirectPathOptions {
  readonly journal: Journal;
  readonly clock: ServerTime;
  readonly wanted: Wanted;
  readonly platform: Platform;
  /** As the upstream is configured; undefined when it is not. */
  readonly settings: Config["upstreams"][string] | undefined;
  readonly ca: readonly string[];
  /** A layer of the image, where the mirror has shown one. */
  readonly layer: Descriptor | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs: number | undefined;
}

/** What was found on the way. */
export interface DirectReport {
  readonly finding: Finding | undefined;
  /** What was not looked at, because that would cost a pull. */
  readonly unread: boolean;
  readonly left: string | undefined;
}

/** Walks the way to its end or to what is in it. */
export async function checkDirectPath(options: DirectPathOptions): Promise<DirectReport> {
  const way = new DirectPath(options);
  let finding: Finding | undefined;
  try {
    await way.walk();
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    finding = way.behindProxy(options.clock.judge(error));
  } finally {
    await way.close();
  }
  return { finding, unread: way.unread, left: way.left };
}

const purpose = { reason: "pull", client: "doctor", payer: "doctor", userAgent: "hubcap-doctor" } as const;
const asked = { purpose };

class DirectPath {
  readonly #options: DirectPathOptions;
  readonly #url: URL;
  readonly #bucket: WatchingBucket;
  #registry: Registry | undefined;
  #credential: Credential | undefined;
  unread = false;
  left: string | undefined;

  constructor(options: DirectPathOptions) {
    this.#options = options;
    this.#bucket = new WatchingBucket(({ headers }) => options.clock.learn(headers["date"]));
    const { upstream } = options.wanted.repository;
    this.#url = new URL(options.settings?.url ?? knownRegistry(upstream)?.url ?? `https://${upstream}`);
  }

  async walk(): Promise<void> {
    const { journal, clock, wanted, settings, platform, layer } = this.#options;
    const ca = settings?.ca === undefined ? this.#options.ca : [...this.#options.ca, settings.ca];
    await reach({ journal, clock, way: "straight", url: this.#url, ca, timeoutMs: this.#timeouts.connectMs });
    const registry = await this.#open();
    const reference = await this.#resolve(registry);
    const { name } = wanted;
    const common = { journal, way: "straight", source: this.#source(registry) } as const;
    if (layer) {
      await touch(common, layer);
    } else if (this.#bucket.rate === undefined) {
      await inspect({ ...common, reference, name, platform });
    } else {
      this.unread = true;
      journal.skip(
        "straight",
        "platform",
        "to read the manifest would spend a pull; --mirror reads it there",
      );
    }
  }

  async close(): Promise<void> {
    await this.#registry?.close();
  }

  /** Where the environment names a proxy, a way that is closed without it is the proxy's matter: Hubcap uses none. */
  behindProxy(finding: Finding): Finding {
    const proxy = proxyFor(this.#url, this.#options.env);
    const isClosed = finding.code === "dns" || finding.code === "refused" || finding.code === "timeout";
    if (!proxy || !isClosed) return finding;
    const cause = `${finding.message} without the proxy that ${proxy.variable} names, and Hubcap uses none`;
    const remedy = `let this host out to ${this.#url.host} without ${proxy.url.host}`;
    return new Finding("proxy", cause, { cause: finding, remedy });
  }

  get #timeouts(): Timeouts {
    const { settings, timeoutMs } = this.#options;
    const { connect, headers, stall } = settings?.timeouts ?? {};
    const most = timeoutMs ?? Number.POSITIVE_INFINITY;
    return {
      ...defaultTimeouts,
      connectMs: Math.min(connect ?? defaultTimeouts.connectMs, most),
      headersMs: Math.min(headers ?? defaultTimeouts.headersMs, most),
      blobHeadersMs: Math.min(headers ?? defaultTimeouts.blobHeadersMs, most),
      tokenMs: Math.min(defaultTimeouts.tokenMs, most),
      stallMs: Math.min(stall ?? defaultTimeouts.stallMs, most),
    };
  }

  async #open(): Promise<Registry> {
    const { wanted, settings } = this.#options;
    const { upstream } = wanted.repository;
    try {
      const options = settings?.credential;
      this.#credential = options && (await openCredential(options, this.#url.href, systemClock));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Finding("credential-refused", why, { cause: error });
    }
    // No one has said of an upstream that is not configured where it may be, and nothing secret is sent to it.
    const { tokenRealms, allowPrivateAddresses, ca } = settings ?? {
      tokenRealms: knownRegistry(upstream)?.tokenRealms ?? [this.#url.origin],
      allowPrivateAddresses: true,
    };
    this.#registry = new Registry({
      name: upstream,
      url: this.#url.href,
      tokenRealms,
      allowPrivateAddresses,
      ...(ca !== undefined && { ca }),
      credential: this.#credential,
      timeouts: this.#timeouts,
      bucket: this.#bucket,
      observe: () => undefined,
      clock: systemClock,
    });
    return this.#registry;
  }

  /** The free HEAD, and what its answers say of challenge, token and limit. */
  async #resolve(registry: Registry): Promise<Reference> {
    const { wanted, journal, settings } = this.#options;
    const { repository, reference } = wanted;
    const started = performance.now();
    let resolved: Awaited<ReturnType<Registry["headManifest"]>> | undefined;
    let failure: unknown;
    try {
      resolved = await registry.headManifest(repository, reference, asked);
    } catch (error) {
      failure = error;
    }
    const account = this.#account;
    const ping = this.#bucket.first("ping");
    const token = this.#bucket.first("token");
    if (ping)
      journal.note({
        way: "straight",
        name: "registry",
        state: "ok",
        ms: ping.ms,
        text: `it answers ${ping.status} to GET /v2/`,
      });
    if (token) {
      const state = token.status === 200 ? "ok" : "failed";
      const text = `the token service answers ${token.status} to ${account}`;
      journal.note({ way: "straight", name: "token", state, ms: token.ms, text });
    }
    const spent = msSince(started);
    if (failure !== undefined || resolved?.digest === undefined) {
      const straight = this.#about(registry);
      const finding = failure === undefined ? unnamedManifest(straight) : await failureOf(failure, straight);
      journal.note({ way: "straight", name: "manifest", state: "failed", ms: spent, text: finding.message });
      throw finding;
    }
    const who = settings ? `as ${account}` : "anonymously, since this upstream is not in the configuration";
    const text = `${reference} is ${resolved.digest}, asked ${who}`;
    journal.note({ way: "straight", name: "manifest", state: "ok", ms: spent, text });
    await journal.run("straight", "limit", () => this.#limit());
    return resolved.digest;
  }

  #limit(): string {
    const { rate } = this.#bucket;
    const { upstream } = this.#options.wanted.repository;
    if (!rate) return `${upstream} says nothing of a limit`;
    const { limit, remaining, source } = rate;
    const left = `${remaining ?? "an unknown number"} of ${limit} pulls`;
    const whose = source === undefined ? "" : ` for ${source}`;
    if (remaining === 0)
      throw new Finding("rate-limited", `${upstream} has none of ${limit} pulls left${whose}`);
    this.left = `${left} are left${whose}`;
    return this.left;
  }

  #about(registry: Registry): DirectRequest {
    const { wanted } = this.#options;
    return {
      wanted,
      host: this.#url.host,
      account: this.#account,
      bucket: this.#bucket,
      tags: () => registry.listTags(wanted.repository, asked),
    };
  }

  get #account(): string {
    return this.#credential?.account ?? "anonymous";
  }

  #source(registry: Registry): Source {
    const { repository } = this.#options.wanted;
    return {
      manifest: async (reference) => {
        try {
          return await registry.getManifest(repository, reference, asked);
        } catch (error) {
          throw await failureOf(error, this.#about(registry));
        }
      },
      blob: async (digest: Digest, limit: number) => {
        try {
          const stream = await registry.getBlob(repository, digest, 0, asked);
          const bytes = await firstBytes(stream.body, limit);
          stream.cancel();
          return bytes;
        } catch (error) {
          if (!(error instanceof UpstreamError)) throw error;
          throw new Finding("layer-unreachable", error.message, { cause: error });
        }
      },
    };
  }
}
