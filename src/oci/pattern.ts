/** Image patterns, as in pins and retention rules: `docker.io/library/*`, `ghcr.io/org/app:v1.*`, `sha256:…`. */
import { parseGlob, type Glob } from "./glob.ts";
import { parseDigest, type Digest } from "./digest.ts";
import { formatRepository, type Repository } from "./reference.ts";

/** An image that is matched against patterns. */
export interface Candidate {
  readonly repository: Repository;
  /** Absent while only the tag is known; then no pattern with a digest matches. */
  readonly digest?: Digest;
  readonly tags: readonly string[];
}

/** A parsed pattern. An absent part matches anything. */
export interface Pattern {
  readonly text: string;
  readonly repository?: Glob;
  readonly tag?: Glob;
  readonly digest?: Digest;
}

/** What to write instead of an invalid pattern, for messages. */
export const patternExpected =
  "an image with its source host, such as docker.io/library/nginx:1.29, where * stands for a part and ** for parts of a name, or a digest";

const repositoryGrammar = /^(?:\*\*|[a-z0-9*.-]+(?::\d{1,5})?)(?:\/[a-z0-9*._-]+)*$/;
const nameGlobGrammar = /^[a-z0-9*._-]+(?:\/[a-z0-9*._-]+)*$/;
const tagGrammar = /^[a-zA-Z0-9_*][a-zA-Z0-9._*-]{0,127}$/;

/** `text` as a pattern, or undefined. It must begin with the source host: patterns have no default upstream. */
export function parsePattern(text: string): Pattern | undefined {
  if (text.length > 512) return undefined;
  const alone = parseDigest(text);
  if (alone) return { text, digest: alone };
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  if (at >= 0 && !digest) return undefined;
  const named = at < 0 ? text : text.slice(0, at);
  // A colon before the last slash belongs to a port.
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  const repository = withLibrary(colon < 0 ? named : named.slice(0, colon));
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (!repositoryGrammar.test(repository) || !hasHost(repository)) return undefined;
  if (tag !== undefined && !tagGrammar.test(tag)) return undefined;
  return {
    text,
    repository: parseGlob(repository),
    ...(tag !== undefined && { tag: parseGlob(tag) }),
    ...(digest && { digest }),
  };
}

/** A glob over repository names without a host, such as `library/*`; undefined when it is malformed. */
export function parseRepositoryGlob(text: string): Glob | undefined {
  return text.length <= 255 && nameGlobGrammar.test(text) ? parseGlob(text) : undefined;
}

/** The one source host that `pattern` can match; undefined when it has a glob there, or none. */
export function hostOf({ text, repository }: Pattern): string | undefined {
  const [first = ""] = text.split("/");
  return repository && !first.includes("*") ? first : undefined;
}

/** Whether `pattern` matches `candidate`. */
export function matches({ repository, tag, digest }: Pattern, candidate: Candidate): boolean {
  if (digest && digest !== candidate.digest) return false;
  if (repository && !repository.test(formatRepository(candidate.repository))) return false;
  return !tag || candidate.tags.some((name) => tag.test(name));
}

/** Whether `pattern` can match anything in `repository`. */
export function mayMatch(pattern: Pattern, repository: Repository): boolean {
  return !pattern.repository || pattern.repository.test(formatRepository(repository));
}

function hasHost(repository: string): boolean {
  const [first = "", ...rest] = repository.split("/");
  return first.includes("**") || (rest.length > 0 && /[.:*]|^localhost$/.test(first));
}

/** One-component names at Docker Hub are under `library/`, as for pulls. */
function withLibrary(repository: string): string {
  return /^docker\.io\/[^/]+$/.test(repository) && !repository.includes("**")
    ? repository.replace("/", "/library/")
    : repository;
}
