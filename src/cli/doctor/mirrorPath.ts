/** The way through the mirror: what a container runtime would meet on it. */
import { manifestTypes, type Descriptor, type Platform } from "../../oci/descriptor.ts";
import type { Reference } from "../../oci/reference.ts";
import { parseDigest } from "../../oci/digest.ts";
import { absenceOf } from "./failure.ts";
import type { ServerTime } from "./serverTime.ts";
import type { Wanted } from "./image.ts";
import { inspect, type Source } from "./inspect.ts";
import { Doubt, Omission, type Journal } from "./journal.ts";
import { MirrorClient, readError, type MirrorAnswer } from "./mirrorClient.ts";
import { proxyFor } from "./proxy.ts";
import { reach } from "./reach.ts";
import { refusalOf } from "./refusal.ts";
import { troubleOf } from "./connectionTrouble.ts";
import { Finding } from "./verdicts.ts";

export interface MirrorPathOptions {
  readonly journal: Journal;
  readonly clock: ServerTime;
  readonly wanted: Wanted;
  readonly platform: Platform;
  readonly mirror: URL;
  /** The mirror's status listener; guessed unless given. */
  readonly status: URL | undefined;
  readonly ca: readonly string[];
  readonly token: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs: number;
}

/** What was found on the way. */
export interface MirrorReport {
  /** Why the pull would fail here; undefined when it would not. */
  readonly finding: Finding | undefined;
  readonly layer: Descriptor | undefined;
  /** The trouble of the mirror's disk, as its status listener tells it. */
  readonly disk: string | undefined;
  /** Answers that the mirror says it spent a pull on. */
  readonly spent: number;
}

/** Walks the way to its end or to what is in it. */
export async function checkMirrorPath(options: MirrorPathOptions): Promise<MirrorReport> {
  const way = new MirrorPath(options);
  let layer: Descriptor | undefined;
  let finding: Finding | undefined;
  try {
    layer = await way.walk();
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    finding = options.clock.judge(error);
  } finally {
    await way.close();
  }
  return { finding, layer, disk: way.disk, spent: way.spent };
}

class MirrorPath {
  readonly #options: MirrorPathOptions;
  readonly #proxy: ReturnType<typeof proxyFor>;
  readonly #client: MirrorClient;
  disk: string | undefined;
  spent = 0;

  constructor(options: MirrorPathOptions) {
    const { mirror: url, env, ca, token, timeoutMs } = options;
    this.#options = options;
    this.#proxy = proxyFor(url, env);
    this.#client = new MirrorClient({ url, proxy: this.#proxy?.url, ca, token, timeoutMs });
  }

  async walk(): Promise<Descriptor | undefined> {
    const { journal, wanted, platform } = this.#options;
    await this.#reach();
    await journal.run("mirror", "registry", () => this.#greet());
    await this.#lookAtStatus();
    let reference = wanted.reference;
    await journal.run("mirror", "manifest", async () => {
      const { headers } = await this.#resolve();
      const digest = parseDigest(String(headers["docker-content-digest"]));
      reference = digest ?? reference;
      const { warning } = headers;
      return warning === undefined ? `${wanted.reference} is ${reference}` : new Doubt(String(warning));
    });
    const { name } = wanted;
    return inspect({ journal, way: "mirror", source: this.#source(), reference, name, platform });
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  async #reach(): Promise<void> {
    const { journal, mirror, clock, ca, timeoutMs } = this.#options;
    const proxy = this.#proxy;
    if (proxy) {
      const text = `${proxy.variable} is set and NO_PROXY does not name ${mirror.hostname}: runtimes ask ${proxy.url.host} for the mirror`;
      journal.note({ way: "mirror", name: "proxy", state: "warning", ms: 0, text });
    }
    const common = { journal, clock, way: "mirror", ca, timeoutMs } as const;
    try {
      await reach({ ...common, url: proxy?.url ?? mirror });
    } catch (error) {
      if (proxy) throw this.#inTheWay(error);
      if (!(error instanceof Finding) || (error.code !== "refused" && error.code !== "timeout")) throw error;
      throw new Finding("mirror-down", `the mirror does not answer: ${error.message}`, { cause: error });
    }
  }

  /** `GET /v2/`, which tells a registry from everything else. */
  async #greet(): Promise<string> {
    const { clock, mirror } = this.#options;
    const answer = await this.#ask("GET", "/v2/");
    const { status, headers } = answer;
    clock.learn(headers["date"]);
    if (status === 401) throw refusalOf(answer, this.#asked("/v2/"));
    if (status === 200 && headers["docker-distribution-api-version"] !== undefined) return "it is a registry";
    if (this.#proxy) throw this.#inTheWay(new Error(`it answered ${status} in the mirror's place`));
    if (status === 404 && readError(answer).reason === "status-listener") {
      throw new Finding("mirror-status-port", `${mirror.host} is Hubcap's status listener, not its registry`);
    }
    if (status >= 500) throw refusalOf(answer, this.#asked("/v2/"));
    throw new Finding("mirror-not-hubcap", `what answers at ${mirror.host} is not a registry`);
  }

  async #lookAtStatus(): Promise<void> {
    const { journal, status, mirror, ca } = this.#options;
    const url = status ?? new URL(`http://${mirror.hostname}:5001`);
    const timeoutMs = Math.min(this.#options.timeoutMs, 3000);
    const client = new MirrorClient({ url, proxy: undefined, ca, token: undefined, timeoutMs });
    try {
      await journal.run("mirror", "status", async () => {
        const answer = await client.ask("GET", "/readyz").catch(() => undefined);
        if (answer === undefined) {
          const text = `the status listener at ${url.host} does not answer from here`;
          return status ? new Doubt(text) : new Omission(text);
        }
        const text = `readyz says ${answer.body.toString().trim().slice(0, 200)}`;
        const degraded = String(answer.headers["x-hubcap-degraded"] ?? "");
        if (degraded.startsWith("disk-")) this.disk = `the disk is ${degraded.slice(5)}`;
        return answer.status === 200 && this.disk === undefined ? text : new Doubt(text);
      });
    } finally {
      await client.close();
    }
  }

  /** HEAD, as containerd resolves a tag; what a HEAD cannot say is asked by GET, which is refused for the same reason. */
  async #resolve(): Promise<MirrorAnswer> {
    const { wanted, mirror } = this.#options;
    const path = this.#path("manifests", wanted.reference);
    const accept = { accept: manifestTypes.join(", ") };
    const answer = await this.#ask("HEAD", path, accept);
    const isHubcap = answer.headers["oci-namespace"] !== undefined || answer.status === 401;
    if (answer.status === 200 && isHubcap) return answer;
    const repeated = answer.status === 200 ? answer : await this.#ask("GET", path, accept);
    const refusal = refusalOf(repeated, this.#asked(wanted.name));
    // A source host that is not served has no namespace that could be repeated.
    if (refusal.code === "host-not-served") throw refusal;
    if (repeated.status === 200 || !isHubcap) {
      throw new Finding("mirror-not-hubcap", `${mirror.host} is a registry, but not Hubcap`);
    }
    throw readError(repeated).code === "MANIFEST_UNKNOWN" ? await this.#absence() : refusal;
  }

  /** Whether it is the tag that is not there, or the repository: lists of tags cost no pull. */
  async #absence(): Promise<Finding> {
    const { repository, reference, name } = this.#options.wanted;
    const { status, body } = await this.#ask("GET", this.#path("tags", "list"));
    if (status !== 200) {
      const remedy =
        "correct the image's name, or let this client pull it (`access` in Hubcap's configuration)";
      const cause = `the mirror finds no repository ${repository.name} at ${repository.upstream}`;
      return new Finding("name-unknown", cause, { remedy });
    }
    const { tags } = JSON.parse(body.toString()) as { tags: readonly string[] };
    return absenceOf(name, reference, tags);
  }

  #source(): Source {
    const accept = { accept: manifestTypes.join(", ") };
    return {
      manifest: async (reference) => {
        const answer = await this.#ask("GET", this.#path("manifests", reference), accept);
        if (answer.status !== 200) throw refusalOf(answer, this.#asked(`manifest ${reference}`));
        if (answer.headers["ratelimit"] !== undefined) this.spent += 1;
        return { bytes: answer.body, mediaType: String(answer.headers["content-type"]) };
      },
      blob: async (digest, limit) => {
        const range = { range: `bytes=0-${limit - 1}` };
        const answer = await this.#ask("GET", this.#path("blobs", digest), range, limit);
        if (answer.status === 200 || answer.status === 206) return answer.body;
        throw refusalOf(answer, this.#asked(`blob ${digest}`));
      },
    };
  }

  #path(kind: string, rest: Reference | string): string {
    const { upstream, name } = this.#options.wanted.repository;
    return `/v2/${name}/${kind}/${rest}?ns=${encodeURIComponent(upstream)}`;
  }

  async #ask(
    method: "GET" | "HEAD",
    path: string,
    headers?: Readonly<Record<string, string>>,
    limit?: number,
  ): Promise<MirrorAnswer> {
    const { host } = this.#options.mirror;
    try {
      return await this.#client.ask(method, path, headers, limit);
    } catch (error) {
      if (this.#proxy) throw this.#inTheWay(error);
      const trouble = troubleOf(error, host);
      if (trouble && trouble.code !== "refused" && trouble.code !== "timeout") throw trouble;
      const why = trouble?.message ?? `${host} breaks the connection`;
      throw new Finding("mirror-down", `the mirror does not answer: ${why}`, { cause: error });
    }
  }

  #inTheWay(error: unknown): Finding {
    const { mirror } = this.#options;
    const { variable = "", url } = this.#proxy ?? {};
    const why = error instanceof Error ? error.message : String(error);
    const cause = `${variable} sends requests for the mirror to ${url?.host}, and ${why}`;
    const remedy = `add ${mirror.hostname} to NO_PROXY of the runtime's service`;
    return new Finding("proxy", cause, { cause: error, remedy });
  }

  #asked(what: string) {
    const { mirror, wanted } = this.#options;
    return { mirror: mirror.host, upstream: wanted.repository.upstream, what };
  }
}
