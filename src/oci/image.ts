/** Image names as people type them: `nginx`, `ghcr.io/org/app:1.2`, `host:5000/a/b:tag@sha256:…`. */
import { parseDigest, type Digest } from "./digest.ts";
import { RegistryError } from "./error.ts";
import { parseTag, type Reference, type Repository, type Tag } from "./reference.ts";
import { repositoryAt, upstreamWithin, type Routing } from "./target.ts";

/** A repository with a tag, a digest, both, or neither; then the caller chooses a default. */
export interface Image extends Repository {
  readonly tag?: Tag;
  readonly digest?: Digest;
}

/**
 * The image that `text` names, with its upstream found as for a pull.
 * @throws RegistryError with a message that says what is wrong with `text`.
 */
export function parseImage(text: string, routing: Routing): Image {
  const at = text.indexOf("@");
  const tagged = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : readDigest(text.slice(at + 1));
  // A colon before the last slash belongs to a port.
  const colon = tagged.indexOf(":", tagged.lastIndexOf("/") + 1);
  const tag = colon < 0 ? undefined : readTag(tagged.slice(colon + 1));
  const path = (colon < 0 ? tagged : tagged.slice(0, colon)).split("/");
  const repository = repositoryAt(upstreamWithin(path, routing), path);
  return { ...repository, ...(tag && { tag }), ...(digest && { digest }) };
}

/** The image's digest, else its tag, else `latest`: as runtimes resolve names. */
export function referenceOf({ tag, digest }: Image): Reference {
  return digest ?? tag ?? ("latest" as Tag);
}

function readTag(text: string): Tag {
  const tag = parseTag(text);
  if (tag !== undefined) return tag;
  throw new RegistryError(
    "MANIFEST_INVALID",
    'what follows the ":" is not a tag: letters, digits and . _ -, at most 128',
  );
}

function readDigest(text: string): Digest {
  const digest = parseDigest(text);
  if (digest !== undefined) return digest;
  throw new RegistryError("DIGEST_INVALID", 'what follows the "@" is not a sha256 or sha512 digest');
}
