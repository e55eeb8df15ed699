/** Source hosts: which upstream a name belongs to. A host is a key into the configuration, never an address to dial. */
import { RegistryError } from "./error.ts";
import { parseRepositoryName, type Repository } from "./reference.ts";

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
