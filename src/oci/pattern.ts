/** Patterns of images, as pins and retention rules name them: `docker.io/library/*`, `ghcr.io/org/app:v1.*`, `sha256:…`. */
import { parseGlob, type Glob } from "./glob.ts";
import { parseDigest, type Digest } from "./digest.ts";
import { formatRepository, type Repository } from "./reference.ts";

/** What a pattern may match. */
export interface Candidate {
  readonly repository: Repository;
  /** Absent while only the tag is known; no pattern with a digest matches then. */
  readonly digest?: Digest;
  readonly tags: readonly string[];
}

/** A pattern that was read. What it leaves out, it does not ask for. */
export interface Pattern {
  readonly text: string;
  readonly repository?: Glob;
  readonly tag?: Glob;
  readonly digest?: Digest;
}

/** One sentence for people whose pattern is none. */
export const patternExpected =
  "an image with its source host, such as docker.io/library/nginx:1.29, where * stands for a part and ** for parts of a name, or a digest";

const repositoryGrammar = /^(?:\*\*|[a-z0-9*.-]+(?::\d{1,5})?)(?:\/[a-z0-9*._-]+)*$/;
const nameGlobGrammar = /^[a-z0-9*._-]+(?:\/[a-z0-9*._-]+)*$/;
const tagGrammar = /^[a-zA-Z0-9_*][a-zA-Z0-9._*-]{0,127}$/;

/** The pattern that `text` spells, or undefined. The source host comes first, since a pattern has no default. */
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

/** The names of repositories, without a host, that a glob such as `library/*` stands for; undefined when it is none. */
export function parseRepositoryGlob(text: string): Glob | undefined {
  return text.length <= 255 && nameGlobGrammar.test(text) ? parseGlob(text) : undefined;
}

/** The one source host that `pattern` is for; undefined when it is for any, or has a glob there. */
export function hostOf({ text, repository }: Pattern): string | undefined {
  const [first = ""] = text.split("/");
  return repository && !first.includes("*") ? first : undefined;
}

/** Does `pattern` match an image that is held as `candidate`? */
export function matches({ repository, tag, digest }: Pattern, candidate: Candidate): boolean {
  if (digest && digest !== candidate.digest) return false;
  if (repository && !repository.test(formatRepository(candidate.repository))) return false;
  return !tag || candidate.tags.some((name) => tag.test(name));
}

/** May `pattern` match anything in `repository`? */
export function mayMatch(pattern: Pattern, repository: Repository): boolean {
  return !pattern.repository || pattern.repository.test(formatRepository(repository));
}

function hasHost(repository: string): boolean {
  const [first = "", ...rest] = repository.split("/");
  return first.includes("**") || (rest.length > 0 && /[.:*]|^localhost$/.test(first));
}

/** Docker Hub's one-component names live under `library/`, as they do when they are pulled. */
function withLibrary(repository: string): string {
  return /^docker\.io\/[^/]+$/.test(repository) && !repository.includes("**")
    ? repository.replace("/", "/library/")
    : repository;
}
