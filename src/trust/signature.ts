/** Signatures as a registry has them, and the interface of their verifier. */
import type { Digest } from "../oci/digest.ts";

/** The predicate of cosign's signatures. Attestations have others, and do not count as approval. */
export const signPredicate = "https://sigstore.dev/cosign/sign/v1";

/** A signature that is not verified yet. */
export type Signature =
  /** cosign's tag scheme: a payload, and its signature in annotations. */
  | {
      readonly kind: "payload";
      readonly payload: Buffer;
      readonly annotations: Readonly<Record<string, string>>;
    }
  /** A sigstore bundle. */
  | { readonly kind: "bundle"; readonly bundle: Buffer };

/** The image that a signature must be for. */
export interface Signed {
  readonly digest: Digest;
  /** The manifest. */
  readonly bytes: Buffer;
}

export interface SignatureJudge {
  /** Changes whenever what is accepted changes. */
  readonly key: string;
  /** Its place in the configuration, such as `verify.0`. */
  readonly name: string;
  /** Undefined if `signature` counts for the image; else why not, as a part of a sentence. */
  judge(signature: Signature, image: Signed): string | undefined;
}
