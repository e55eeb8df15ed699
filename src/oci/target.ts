/** Targets: what a request is for, parsed once from its method and URL; no other module reads those. */
import { parseDigest, type Digest } from "./digest.ts";
import { RegistryError } from "./error.ts";
import { parseTag, type Reference, type Repository, parseRepositoryName } from "./reference.ts";

/** A repository, and its source host if the client sent it as `ns`: the response then repeats it in `OCI-Namespace`. */
interface RepositoryTarget {
  readonly repository: Repository;
  readonly namespace?: string;
}

/** One request of the distribution-spec's "Pull" and "Content Discovery". */
export type Target =
  | { readonly kind: "ping" }
  | (RepositoryTarget & { readonly kind: "manifest"; readonly reference: Reference })
  | (RepositoryTarget & { readonly kind: "blob"; readonly digest: Digest })
  | (RepositoryTarget & { readonly kind: "tags"; readonly count: number; readonly last?: string })
  | (RepositoryTarget & {
      readonly kind: "referrers";
      readonly subject: Digest;
      readonly artifactType?: string;
    });

/** The most tags in a page, whatever `n` is, and also without one: a list of all is as large as an upstream likes. */
const maxTags = 1000;

// RFC 6838 section 4.2: restricted-name "/" restricted-name.
const mediaTypeGrammar = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/i;

/** Whether `method` only reads. Nothing else is served. */
export function isRead(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

type Read = (named: RepositoryTarget, rest: string, query: URLSearchParams) => Target;

/** The path component after a repository's name, and how the rest is parsed. */
const endpoints: ReadonlyMap<string, Read> = new Map<string, Read>([
  ["manifests", (named, rest) => ({ kind: "manifest", ...named, reference: readReference(rest) })],
  ["blobs", (named, rest) => ({ kind: "blob", ...named, digest: readBlob(rest) })],
  ["tags", (named, rest, query) => ({ kind: "tags", ...named, ...readPage(rest, query) })],
  ["referrers", (named, rest, query) => ({ kind: "referrers", ...named, ...readSubject(rest, query) })],
]);

/** Every endpoint but `/v2/` itself. */
export const endpointNames: readonly string[] = [...endpoints.keys()];

/**
 * Parses `method` and `url` (path and query as received). The source host comes as `?ns=`, as `/<host>/v2/…`, as
 * `/v2/<host>/…`, or not at all.
 * @throws RegistryError when there is no such endpoint, or a part is malformed.
 */
export function parseTarget(method: string, url: string, routing: Routing): Target {
  if (!isRead(method)) throw new RegistryError("UNSUPPORTED");
  const { host, path, query } = split(url);
  const namespace = readNamespace(query, routing);
  const prefix = host === undefined ? undefined : upstreamOf(host, routing);
  if (namespace !== undefined && prefix !== undefined && namespace !== prefix) {
    throw new RegistryError("NAME_INVALID", `the path is for ${prefix}, but "ns" is ${namespace}`);
  }
  if (path.join("/") === "") return { kind: "ping" };

  // The last one counts: a repository's components may have these names, and a reference has no components.
  const at = path.findLastIndex((component, index) => index < path.length - 1 && endpoints.has(component));
  const read = endpoints.get(path[at] ?? "");
  if (read === undefined) throw nothingHere();
  const name = path.slice(0, at);
  const upstream = namespace ?? prefix ?? upstreamWithin(name, routing);
  const named = { repository: repositoryAt(upstream, name), ...(namespace && { namespace }) };
  return read(named, path.slice(at + 1).join("/"), query);
}

/** The parts of a URL: the host before `/v2`, if any, and the components after it. */
function split(url: string): { host: string | undefined; path: string[]; query: URLSearchParams } {
  const mark = url.indexOf("?");
  const [, ...components] = decode(mark < 0 ? url : url.slice(0, mark)).split("/");
  // A plus sign stays one: values are media types and tags, not form data, and have no spaces.
  const query = new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1).replaceAll("+", "%2B"));
  if (components[0] === "v2") return { host: undefined, path: components.slice(1), query };
  if (components[1] === "v2") return { host: components[0], path: components.slice(2), query };
  throw nothingHere();
}

/**
 * `path` with its percent-encoding decoded once. Escapes of slashes, malformed ones and those beyond ASCII stay, and are
 * refused later, since no grammar here allows "%". (decodeURIComponent would throw, which is slow.)
 */
function decode(path: string): string {
  return path.replace(/%[0-7][0-9a-f]/gi, (escape) => {
    const character = String.fromCharCode(Number.parseInt(escape.slice(1), 16));
    return character === "/" ? escape : character;
  });
}

function readNamespace(query: URLSearchParams, routing: Routing): string | undefined {
  const [namespace, ...more] = query.getAll("ns");
  if (more.length > 0) throw new RegistryError("NAME_INVALID", '"ns" is given more than once');
  return namespace === undefined ? undefined : upstreamOf(namespace, routing);
}

function readReference(text: string): Reference {
  if (text.includes(":")) return readDigest(text);
  const tag = parseTag(text);
  if (tag === undefined) throw new RegistryError("MANIFEST_INVALID");
  return tag;
}

function readDigest(text: string): Digest {
  const digest = parseDigest(text);
  if (digest === undefined) throw new RegistryError("DIGEST_INVALID");
  return digest;
}

function readBlob(text: string): Digest {
  // The status of an upload: "unsupported" says more than "no digest".
  if (text.startsWith("uploads/")) throw new RegistryError("UNSUPPORTED");
  return readDigest(text);
}

function readPage(rest: string, query: URLSearchParams): { count: number; last?: string } {
  if (rest !== "list") throw nothingHere();
  const count = query.get("n");
  if (count !== null && !/^[0-9]+$/.test(count)) {
    throw new RegistryError("NAME_INVALID", '"n" is not a whole number');
  }
  // Some clients send an empty `last` for the first page.
  const last = query.get("last") || undefined;
  if (last !== undefined && parseTag(last) === undefined) {
    throw new RegistryError("NAME_INVALID", '"last" is not a tag');
  }
  return { count: Math.min(Number(count ?? maxTags), maxTags), ...(last && { last }) };
}

function readSubject(rest: string, query: URLSearchParams): { subject: Digest; artifactType?: string } {
  const subject = readDigest(rest);
  const artifactType = query.get("artifactType") || undefined;
  if (artifactType !== undefined && !mediaTypeGrammar.test(artifactType)) {
    throw new RegistryError("MANIFEST_INVALID", '"artifactType" is not a media type');
  }
  return { subject, ...(artifactType && { artifactType }) };
}

/** Any other path is 404; `_catalog` too, since what is held does not say what can be pulled. */
function nothingHere(): RegistryError {
  return new RegistryError(
    "NAME_UNKNOWN",
    "only manifests, blobs, tags/list and referrers are served, below /v2/",
  );
}

/** The configured upstreams. The keys are source hosts in canonical form. */
export interface Routing {
  readonly upstreams: ReadonlySet<string>;
  /** The upstream of names without a host. */
  readonly defaultUpstream: string;
}

// Docker Hub's API has other names than the one in its images' names.
const aliases: ReadonlyMap<string, string> = new Map([
  ["registry-1.docker.io", "docker.io"],
  ["index.docker.io", "docker.io"],
]);

/** The grammar of a source host in canonical form, as in the configuration: no address in brackets. */
export const sourceHostGrammar = /^(?!.*:443$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/;

// A name, an IPv4 or a bracketed IPv6 address, with or without a port.
const hostGrammar = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/i;

/** A source host in canonical form: lower case, without port 443, Docker Hub always as `docker.io`. */
export function canonicalHost(text: string): string {
  const host = text.toLowerCase().replace(/:443$/, "");
  return aliases.get(host) ?? host;
}

/**
 * The upstream of a source host.
 * @throws RegistryError NAME_UNKNOWN when none is configured.
 */
export function upstreamOf(host: string, routing: Routing): string {
  const upstream = canonicalHost(host);
  if (routing.upstreams.has(upstream)) return upstream;
  throw new RegistryError(
    "NAME_UNKNOWN",
    `the source host ${quoted(host)} is not served here: add it under "upstreams:" in the configuration`,
    { reason: "host-not-served" },
  );
}

/**
 * The upstream of a path without `ns`: its first component, if that is a source host, else the default.
 * A single component is a repository, as for every client.
 * @throws RegistryError NAME_UNKNOWN when the first component looks like a host that is not configured.
 */
export function upstreamWithin(path: readonly string[], routing: Routing): string {
  const [first = ""] = path;
  if (path.length < 2) return routing.defaultUpstream;
  const isHost = looksLikeHost(first) || routing.upstreams.has(canonicalHost(first));
  return isHost ? upstreamOf(first, routing) : routing.defaultUpstream;
}

/**
 * The repository of `upstream` at `path`, with or without the source host in front (mirrors with `override_path`
 * send it there and as `ns`). One-component names at Docker Hub are under `library/`.
 * @throws RegistryError NAME_INVALID
 */
export function repositoryAt(upstream: string, path: readonly string[]): Repository {
  const [first = "", ...rest] = path;
  const components = rest.length > 0 && canonicalHost(first) === upstream ? rest : path;
  const text = components.join("/");
  const name = parseRepositoryName(
    upstream === "docker.io" && components.length === 1 ? `library/${text}` : text,
  );
  if (name !== undefined) return { upstream, name };
  throw new RegistryError(
    "NAME_INVALID",
    `${quoted(text)} is not a repository name: lower-case letters and digits, with . _ - / between them`,
  );
}

function looksLikeHost(text: string): boolean {
  return text.length <= 255 && (text === "localhost" || /[.:]/.test(text)) && hostGrammar.test(text);
}

/** `text` for an error message: shortened, with control characters escaped. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
