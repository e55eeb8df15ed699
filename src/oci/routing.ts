/** Source hosts: which upstream a name belongs to. A host is a key into the configured map, never an address to dial. */
import { RegistryError } from "./error.ts";
import { parseRepositoryName, type Repository } from "./reference.ts";

/** What is served. The keys of `upstreams` are source hosts in canonical form. */
export interface Routing {
  readonly upstreams: ReadonlySet<string>;
  /** The upstream of names that have no host. */
  readonly defaultUpstream: string;
}

// Docker Hub's API answers by other names than the one that its images carry.
const aliases: ReadonlyMap<string, string> = new Map([
  ["registry-1.docker.io", "docker.io"],
  ["index.docker.io", "docker.io"],
]);

/** What a source host looks like in its one spelling, as a name in a configuration or a folder: no address in brackets. */
export const sourceHostGrammar = /^(?!.*:443$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/;

// A name, an IPv4 or a bracketed IPv6 address, perhaps with a port.
const hostGrammar = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/i;

/** The one spelling of a source host: lower case, without https's port, Docker Hub always as `docker.io`. */
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
  );
}

/**
 * The upstream of a path that came without a source host beside it: its first component, if that is one, else the default.
 * A component with nothing after it is a repository, as it is for every client.
 * @throws RegistryError NAME_UNKNOWN when the first component looks like a host that is not configured.
 */
export function upstreamWithin(path: readonly string[], routing: Routing): string {
  const [first = ""] = path;
  if (path.length < 2) return routing.defaultUpstream;
  const isHost = looksLikeHost(first) || routing.upstreams.has(canonicalHost(first));
  return isHost ? upstreamOf(first, routing) : routing.defaultUpstream;
}

/**
 * The repository of `upstream` that `path` spells, with or without the source host in front (mirrors with `override_path`
 * send it there and as `ns`). Docker Hub's one-component names live under `library/`.
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

/** `text` fit for an error message: short, and with control characters escaped. */
function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
