/** Verifies signatures: by given keys, or for given identities with certificates of a trusted root. */
import { createHash, createPublicKey, X509Certificate, type KeyObject } from "node:crypto";
import type { Bundle } from "@sigstore/bundle";
import type { SignedEntity, TrustMaterial } from "@sigstore/verify";
import { faultOfMessage, faultOfPayload, faultOfStatement } from "./content.ts";
import { isHolder, shown, stranger, type Identity } from "./identity.ts";
import { bundleOf } from "./payload.ts";
import type { Signature, SignatureJudge, Signed } from "./signature.ts";

export interface CosignOptions {
  /** Its place in the configuration, such as `verify.0`. */
  readonly name: string;
  /** Public keys in PEM. */
  readonly keys: readonly string[];
  readonly identities: readonly Identity[];
  /** The trusted root, as JSON. */
  readonly trustedRoot?: string;
}

/** A key or a trusted root cannot be used; the message says why. */
export class TrustError extends Error {
  override readonly name = "TrustError";
}

/** A bundle has one of each; more would be extra work that an attacker could cause. */
const maxProofs = 8;

/** Extended key usage (RFC 5280 section 4.2.1.12) of a signer's certificate. */
const codeSigning = "1.3.6.1.5.5.7.3.3";

/** Loads the libraries that verify signatures, only if `verify` is configured. @throws TrustError */
export async function openCosign(options: CosignOptions): Promise<SignatureJudge> {
  const [{ TrustedRoot, HashAlgorithm }, { bundleFromJSON }, sigstore] = await Promise.all([
    import("@sigstore/protobuf-specs"),
    import("@sigstore/bundle"),
    import("@sigstore/verify"),
  ]);
  const { toSignedEntity, toTrustMaterial, Verifier, VerificationError } = sigstore;
  const { name, identities, trustedRoot } = options;
  const keys = options.keys.map(readKey);
  const root = readRoot();
  if (identities.length > 0) checkRoot(root);
  const hasLog = root.tlogs.length > 0;
  // If the root has a log, signatures need an entry there: otherwise the log would prove nothing.
  const thresholds = { ctlogThreshold: root.ctlogs.length > 0 ? 1 : 0, tlogThreshold: hasLog ? 1 : 0 };
  const algorithms = {
    [HashAlgorithm.SHA2_256]: "sha256",
    [HashAlgorithm.SHA2_384]: "sha384",
    [HashAlgorithm.SHA2_512]: "sha512",
  } as const;

  return { key: keyOf(options), name, judge };

  function readRoot(): TrustMaterial {
    const empty = {
      mediaType: "",
      certificateAuthorities: [],
      timestampAuthorities: [],
      tlogs: [],
      ctlogs: [],
    };
    try {
      return toTrustMaterial(trustedRoot ? TrustedRoot.fromJSON(JSON.parse(trustedRoot)) : empty);
    } catch (error) {
      throw new TrustError("the trusted root cannot be read", { cause: error });
    }
  }

  function judge(signature: Signature, image: Signed): string | undefined {
    try {
      return signature.kind === "payload" ? judgePayload(signature, image) : judgeBundle(signature, image);
    } catch (error) {
      return error instanceof VerificationError ? explain(error) : "it cannot be read";
    }
  }

  function judgePayload(signature: Signature & { kind: "payload" }, image: Signed): string | undefined {
    const { payload, annotations } = signature;
    const bundle = bounded(bundleFromJSON(bundleOf(payload, annotations)));
    return faultOfPayload(payload, image) ?? prove(bundle, payload);
  }

  function judgeBundle(signature: Signature & { kind: "bundle" }, image: Signed): string | undefined {
    const bundle = bounded(bundleFromJSON(JSON.parse(signature.bundle.toString("utf8"))));
    return faultOf(bundle, image) ?? prove(bundle, image.bytes);
  }

  function faultOf({ content }: Bundle, image: Signed): string | undefined {
    if (content.$case === "dsseEnvelope") {
      const { payloadType, payload } = content.dsseEnvelope;
      return faultOfStatement(payloadType, payload, image);
    }
    const { algorithm, digest } = content.messageSignature.messageDigest;
    const known = algorithm in algorithms ? algorithms[algorithm as keyof typeof algorithms] : undefined;
    return faultOfMessage(known, digest, image);
  }

  /** Why `bundle` has no signature that counts; undefined if it has. @throws VerificationError */
  function prove(bundle: Bundle, artifact: Buffer): string | undefined {
    const entity = toSignedEntity(bundle, artifact);
    if (entity.key.$case === "public-key") return proveKey(entity);
    if (identities.length === 0) return "it was signed with a certificate, and only keys count";
    // Without a log in the root, entries cannot be verified.
    const provable = hasLog ? entity : withoutLog(entity);
    const { identity } = new Verifier(root, { ...thresholds, timestampThreshold: 1 }).verify(provable);
    const leaf = leafOf(bundle);
    if (!leaf?.keyUsage?.includes(codeSigning)) return "its certificate is not for signing";
    return identities.some((wanted) => isHolder(wanted, identity)) ? undefined : stranger(identity);
  }

  function proveKey(entity: SignedEntity): string | undefined {
    if (keys.length === 0) return "it was signed with a key, and only identities count";
    const provable = hasLog ? entity : { ...entity, tlogEntries: [], timestamps: [] };
    let fault: unknown;
    for (const publicKey of keys) {
      const material = { ...root, publicKey: () => ({ publicKey, validFor: () => true }) };
      try {
        new Verifier(material, { ...thresholds, timestampThreshold: 0 }).verify(provable);
        return undefined;
      } catch (error) {
        fault = error;
      }
    }
    throw fault;
  }
}

/** Refuses a root that could verify no signature. @throws TrustError */
function checkRoot({ certificateAuthorities, tlogs, timestampAuthorities }: TrustMaterial): void {
  if (certificateAuthorities.length === 0)
    throw new TrustError("a trusted root without certificate authorities");
  if (tlogs.length === 0 && timestampAuthorities.length === 0)
    throw new TrustError("a trusted root with neither a log nor a timestamp authority, which proves no time");
}

function bounded(bundle: Bundle): Bundle {
  const { tlogEntries, timestampVerificationData } = bundle.verificationMaterial;
  const stamps = timestampVerificationData?.rfc3161Timestamps.length ?? 0;
  if (tlogEntries.length > maxProofs || stamps > maxProofs) throw new Error("more proofs than are looked at");
  return bundle;
}

function withoutLog(entity: SignedEntity): SignedEntity {
  const timestamps = entity.timestamps.filter(({ $case }) => $case === "timestamp-authority");
  return { ...entity, tlogEntries: [], timestamps };
}

function leafOf({ verificationMaterial: { content } }: Bundle): X509Certificate | undefined {
  if (content.$case === "certificate") return new X509Certificate(content.certificate.rawBytes);
  if (content.$case !== "x509CertificateChain") return undefined;
  const [leaf] = content.x509CertificateChain.certificates;
  return leaf && new X509Certificate(leaf.rawBytes);
}

/** What the verifier found, in a few words. */
function explain({ code, message, cause }: Error & { readonly code: string }): string {
  const because = cause instanceof Error ? cause.message : "";
  switch (code) {
    case "SIGNATURE_ERROR":
      return "it was made with another key, or what it signs was changed";
    case "CERTIFICATE_ERROR":
      return /expired/.test(because)
        ? "its certificate was not valid when it was made"
        : "its certificate is of no authority in the trusted root";
    case "TIMESTAMP_ERROR":
      return "nothing in the trusted root proves when it was made";
    case "TLOG_ERROR":
    case "TLOG_MISSING_INCLUSION_ERROR":
      return "it is in no log of the trusted root";
    default:
      return `it cannot be proven: ${shown(message)}`;
  }
}

function readKey(pem: string): KeyObject {
  try {
    return createPublicKey(pem);
  } catch (error) {
    throw new TrustError("a key cannot be read", { cause: error });
  }
}

function keyOf({ keys, identities, trustedRoot }: CosignOptions): string {
  const whom = identities.map((identity) => [
    identity.subject ?? null,
    identity.subjectRegExp?.source ?? null,
    identity.issuer ?? null,
    identity.issuerRegExp?.source ?? null,
  ]);
  return createHash("sha256")
    .update(JSON.stringify([keys, whom, trustedRoot ?? null]))
    .digest("hex");
}
