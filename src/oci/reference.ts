/** Repository names, tags and references, as the distribution-spec's "Pulling manifests" defines them. */
import type { Digest } from "./digest.ts";

/** The spec's `<name>`, such as `library/nginx`: without host and tag. */
export type RepositoryName = string & { readonly __name: unique symbol };

/** A mutable name of a manifest within a repository. */
export type Tag = string & { readonly __tag: unique symbol };

/** What a manifest is requested by. */
export type Reference = Tag | Digest;

/** A repository of one upstream, which is named by its source host. */
export interface Repository {
  readonly upstream: string;
  readonly name: RepositoryName;
}

const nameGrammar = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** `text` as a repository name, or undefined. More than 255 characters are refused (spec: "many clients impose a limit"). */
export function parseRepositoryName(text: string): RepositoryName | undefined {
  return text.length <= 255 && nameGrammar.test(text) ? (text as RepositoryName) : undefined;
}

export function parseTag(text: string): Tag | undefined {
  return tagGrammar.test(text) ? (text as Tag) : undefined;
}

export function isDigest(reference: Reference): reference is Digest {
  return reference.includes(":");
}

/** `docker.io/library/nginx` */
export function formatRepository(repository: Repository): string {
  return `${repository.upstream}/${repository.name}`;
}

/** `docker.io/library/nginx:1.29`, or with `@` and the digest. */
export function formatImage(repository: Repository, reference: Reference): string {
  return `${formatRepository(repository)}${isDigest(reference) ? "@" : ":"}${reference}`;
}
