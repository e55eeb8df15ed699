/** Digests: the names of content, and the only thing that may become a path on disk. */
import { createHash, type Hash } from "node:crypto";

/** A content address such as `sha256:e3b0…`, made only by {@link parseDigest} and {@link digestOf}. */
export type Digest = string & { readonly __digest: unique symbol };

export type Algorithm = "sha256" | "sha512";

// image-spec descriptor.md, "Registered algorithms": both are lower-case hex of a fixed length.
const grammar = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** `text` as a digest, or undefined when it is malformed or of an unregistered algorithm. */
export function parseDigest(text: string): Digest | undefined {
  return text.length <= 135 && grammar.test(text) ? (text as Digest) : undefined;
}

export function algorithmOf(digest: Digest): Algorithm {
  return digest.startsWith("sha512:") ? "sha512" : "sha256";
}

export function hexOf(digest: Digest): string {
  return digest.slice(7);
}

/** A hash of the algorithm of `digest`, to be updated. */
export function hashFor(digest: Digest): Hash {
  return createHash(algorithmOf(digest));
}

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array, algorithm: Algorithm = "sha256"): Digest {
  return finish(createHash(algorithm).update(bytes), algorithm);
}

/** The digest of what `hash` was updated with. */
export function finish(hash: Hash, algorithm: Algorithm): Digest {
  return `${algorithm}:${hash.digest("hex")}` as Digest;
}
