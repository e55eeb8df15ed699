/** Signatures as they lie in a registry, and who says whether one counts. */
import type { Digest } from "../oci/digest.ts";

/** What cosign states of an image that it signs. Attestations state other predicates, and say nothing of who approves of it. */
export const signPredicate = "https://sigstore.dev/cosign/sign/v1";

/** A signature, proven by nothing yet. */
export type Signature =
  /** cosign's tag scheme: a payload, and its signature in annotations. */
  | {
      readonly kind: "payload";
      readonly payload: Buffer;
      readonly annotations: Readonly<Record<string, string>>;
    }
  /** A sigstore bundle. */
  | { readonly kind: "bundle"; readonly bundle: Buffer };

/** What a signature has to be of. */
export interface Signed {
  readonly digest: Digest;
  /** The manifest. */
  readonly bytes: Buffer;
}

export interface SignatureJudge {
  /** Differs whenever what is accepted does. */
  readonly key: string;
  /** Where it stands in the configuration, such as `verify.0`. */
  readonly name: string;
  /** Undefined when `signature` is good for the image; else why it does not count, as a part of a sentence. */
  judge(signature: Signature, image: Signed): string | undefined;
}
