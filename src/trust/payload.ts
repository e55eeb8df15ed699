/** Converts cosign's tag scheme to a sigstore bundle, so that one verifier checks both. */
import { createHash, X509Certificate } from "node:crypto";

type Annotations = Readonly<Record<string, string>>;
type Document = Readonly<Record<string, unknown>>;

const names = {
  signature: "dev.cosignproject.cosign/signature",
  certificate: "dev.sigstore.cosign/certificate",
  log: "dev.sigstore.cosign/bundle",
  timestamp: "dev.sigstore.cosign/rfc3161timestamp",
} as const;

/**
 * The bundle (JSON, version 0.1, whose log entries come with a promise) of a payload and its annotations. The chain that
 * may stand beside the certificate is left out: only authorities of the trusted root count.
 * @throws whatever, when the annotations are not what cosign writes
 */
export function bundleOf(payload: Buffer, annotations: Annotations): object {
  const certificate = annotations[names.certificate];
  const log = annotations[names.log];
  const timestamp = annotations[names.timestamp];
  return {
    mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1",
    verificationMaterial: {
      ...(certificate
        ? { x509CertificateChain: { certificates: [{ rawBytes: der(certificate) }] } }
        : { publicKey: { hint: "key" } }),
      tlogEntries: log ? [logEntry(JSON.parse(log) as Document)] : [],
      ...(timestamp && { timestampVerificationData: { rfc3161Timestamps: [stamp(timestamp)] } }),
    },
    messageSignature: {
      messageDigest: {
        algorithm: "SHA2_256",
        digest: createHash("sha256").update(payload).digest("base64"),
      },
      signature: annotations[names.signature] ?? "",
    },
  };
}

function der(pem: string): string {
  return new X509Certificate(pem).raw.toString("base64");
}

function stamp(annotation: string): object {
  return { signedTimestamp: (JSON.parse(annotation) as Document)["SignedRFC3161Timestamp"] };
}

/** A Rekor entry as cosign writes it, converted for a bundle. */
function logEntry({ SignedEntryTimestamp, Payload }: Document): object {
  const { body, integratedTime, logIndex, logID } = Payload as Document;
  const text = Buffer.from(String(body), "base64").toString("utf8");
  const { kind, apiVersion } = JSON.parse(text) as Document;
  return {
    logIndex: String(logIndex),
    logId: { keyId: Buffer.from(String(logID), "hex").toString("base64") },
    kindVersion: { kind, version: apiVersion },
    integratedTime: String(integratedTime),
    inclusionPromise: { signedEntryTimestamp: SignedEntryTimestamp },
    canonicalizedBody: body,
  };
}
