/** Signatures as cosign makes them, in both of its formats, by keys or by certificates and a log of one's own. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  X509Certificate,
  type KeyObject,
} from "node:crypto";
import type { Authority, KeyAndCertificate, SignerOptions } from "./certificates.ts";
import { bytesContent, digestOf, type Content } from "./content.ts";
import type { Bundle, ContentDescriptor, ManifestBytes } from "./images.ts";

export const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json";
const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const signPredicate = "https://sigstore.dev/cosign/sign/v1";

const sha256 = (bytes: Uint8Array | string): Buffer => createHash("sha256").update(bytes).digest();
const base64 = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString("base64");

/** What may be wrong with a signature. */
export interface Flaws {
  /** The digest that is really signed. */
  readonly of?: string;
  /** Changed after it was signed. */
  readonly tampered?: boolean;
  readonly predicate?: string;
  /** How the digest is called in a statement. Default `sha256`. */
  readonly algorithm?: string;
}

/** A transparency log in memory, of one entry at a time (Rekor 1). */
export class TestLog {
  readonly #pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  readonly name = "rekor.test";

  get #spki(): Buffer {
    return this.#pair.publicKey.export({ type: "spki", format: "der" });
  }

  get id(): Buffer {
    return sha256(this.#spki);
  }

  /** The log as a trusted root has it. */
  get trusted(): object {
    return {
      baseUrl: `https://${this.name}`,
      hashAlgorithm: "SHA2_256",
      publicKey: {
        rawBytes: base64(this.#spki),
        keyDetails: "PKIX_ECDSA_P256_SHA_256",
        validFor: { start: "2020-01-01T00:00:00Z" },
      },
      logId: { keyId: base64(this.id) },
    };
  }

  /** The promise that `body` is in the log since `at`, ms since the epoch. */
  promise(body: string, at: number): { readonly integratedTime: number; readonly signed: string } {
    const integratedTime = Math.floor(at / 1000);
    // Canonical JSON: the keys are in order as they stand here.
    const text = JSON.stringify({
      body: base64(body),
      integratedTime,
      logID: this.id.toString("hex"),
      logIndex: 0,
    });
    return { integratedTime, signed: base64(sign("sha256", Buffer.from(text), this.#pair.privateKey)) };
  }

  /** The proof that `body` is the only entry of the log (RFC 6962, and a C2SP checkpoint). */
  proof(body: string): object {
    const root = sha256(Buffer.concat([Buffer.from([0]), Buffer.from(body)]));
    const note = `${this.name} - 1\n1\n${base64(root)}\n`;
    const signature = sign("sha256", Buffer.from(note), this.#pair.privateKey);
    const line = base64(Buffer.concat([this.id.subarray(0, 4), signature]));
    return {
      logIndex: "0",
      rootHash: base64(root),
      treeSize: "1",
      hashes: [],
      checkpoint: { envelope: `${note}\n\u2014 ${this.name} ${line}\n` },
    };
  }
}

/** A trusted root (JSON) of these authorities and logs. */
export function trustedRoot(authorities: readonly Authority[], logs: readonly TestLog[]): string {
  return JSON.stringify({
    mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    tlogs: logs.map((log) => log.trusted),
    certificateAuthorities: authorities.map(({ cert }) => ({
      subject: { organization: "test", commonName: "test" },
      uri: "https://fulcio.test",
      certChain: { certificates: [{ rawBytes: base64(new X509Certificate(cert).raw) }] },
      validFor: { start: "2020-01-01T00:00:00Z" },
    })),
    ctlogs: [],
    timestampAuthorities: [],
  });
}

/** Somebody who signs. */
export class Signer {
  readonly #key: KeyObject;
  readonly #cert: string | undefined;
  readonly #log: TestLog | undefined;
  /** When the entry is logged, in ms since the epoch. */
  readonly #at: number;

  private constructor(key: KeyObject, cert?: string, log?: TestLog, at = Date.now()) {
    this.#key = key;
    this.#cert = cert;
    this.#log = log;
    this.#at = at;
  }

  static withKey(): Signer {
    return new Signer(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
  }

  /** Who signs with a certificate of `authority`, in `log`, at a time. */
  static withCertificate(authority: Authority, options: SignerOptions, log?: TestLog, at?: number): Signer {
    const { key, cert }: KeyAndCertificate = authority.issueSigner(options);
    return new Signer(createPrivateKey(key), cert, log, at);
  }

  /** The public key in PEM. */
  get publicKey(): string {
    return createPublicKey(this.#key).export({ type: "spki", format: "pem" });
  }

  /** The signature of `digest` in the tag scheme: to be pushed under {@link signatureTag}. */
  byTag(digest: string, flaws: Flaws = {}): Bundle {
    const image = { "docker-manifest-digest": flaws.of ?? digest };
    const critical = {
      identity: { "docker-reference": "test" },
      image,
      type: "cosign container image signature",
    };
    const payload = JSON.stringify({ critical, optional: null });
    const signature = base64(sign("sha256", Buffer.from(payload), this.#key));
    const shown = flaws.tampered ? payload.replace(flaws.of ?? digest, digest) : payload;
    const annotations: Record<string, string> = { "dev.cosignproject.cosign/signature": signature };
    if (this.#cert) annotations["dev.sigstore.cosign/certificate"] = this.#cert;
    if (this.#log) {
      const body = JSON.stringify({
        apiVersion: "0.0.1",
        kind: "hashedrekord",
        spec: {
          data: { hash: { algorithm: "sha256", value: sha256(payload).toString("hex") } },
          signature: { content: signature, publicKey: { content: base64(this.#cert ?? this.publicKey) } },
        },
      });
      const { integratedTime, signed } = this.#log.promise(body, this.#at);
      const logID = this.#log.id.toString("hex");
      annotations["dev.sigstore.cosign/bundle"] = JSON.stringify({
        SignedEntryTimestamp: signed,
        Payload: { body: base64(body), integratedTime, logIndex: 0, logID },
      });
    }
    return pack(payloadType, shown, { annotations });
  }

  /** The signature of `image` as a sigstore bundle among its referrers. */
  byBundle(image: ContentDescriptor, flaws: Flaws = {}): Bundle {
    const hex = (flaws.of ?? image.digest).replace("sha256:", "");
    const predicateType = flaws.predicate ?? signPredicate;
    const subject = [{ digest: { [flaws.algorithm ?? "sha256"]: hex } }];
    const statement = { _type: "https://in-toto.io/Statement/v1", subject, predicateType, predicate: {} };
    const payload = JSON.stringify(statement);
    const type = "application/vnd.in-toto+json";
    const signed = `DSSEv1 ${type.length} ${type} ${payload.length} ${payload}`;
    const sig = base64(sign("sha256", Buffer.from(signed), this.#key));
    const shown = flaws.tampered ? payload.replace(hex, image.digest.slice(7)) : payload;
    const bundle = {
      mediaType: bundleType,
      verificationMaterial: {
        ...(this.#cert
          ? { certificate: { rawBytes: base64(new X509Certificate(this.#cert).raw) } }
          : { publicKey: { hint: base64(sha256(this.publicKey)) } }),
        ...(this.#log && { tlogEntries: [this.#entry(this.#log, sig, payload)] }),
      },
      dsseEnvelope: { payload: base64(shown), payloadType: type, signatures: [{ sig }] },
    };
    const annotations = {
      "dev.sigstore.bundle.content": "dsse-envelope",
      "dev.sigstore.bundle.predicateType": predicateType,
    };
    const { mediaType, digest, size } = image;
    return pack(
      bundleType,
      JSON.stringify(bundle),
      {},
      {
        artifactType: bundleType,
        annotations,
        subject: { mediaType, digest, size },
      },
    );
  }

  #entry(log: TestLog, sig: string, payload: string): object {
    const body = JSON.stringify({
      apiVersion: "0.0.1",
      kind: "dsse",
      spec: {
        payloadHash: { algorithm: "sha256", value: sha256(payload).toString("hex") },
        signatures: [{ signature: sig, verifier: base64(this.#cert ?? this.publicKey) }],
      },
    });
    const { integratedTime, signed } = log.promise(body, this.#at);
    return {
      logIndex: "0",
      logId: { keyId: base64(log.id) },
      kindVersion: { kind: "dsse", version: "0.0.1" },
      integratedTime: String(integratedTime),
      inclusionPromise: { signedEntryTimestamp: signed },
      inclusionProof: log.proof(body),
      canonicalizedBody: base64(body),
    };
  }
}

/** The tag under which cosign's tag scheme keeps the signatures of a digest. */
export function signatureTag(digest: string): string {
  return `${digest.replace(":", "-")}.sig`;
}

function pack(mediaType: string, content: string, layer: object, manifest: object = {}): Bundle {
  const empty = "{}";
  const config = {
    mediaType: "application/vnd.oci.empty.v1+json",
    digest: digestOf(empty),
    size: empty.length,
  };
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config,
      layers: [{ mediaType, digest: digestOf(content), size: Buffer.byteLength(content), ...layer }],
      ...manifest,
    }),
  );
  const root = { mediaType: manifestType, digest: digestOf(bytes), size: bytes.length };
  const blobs: [string, Content][] = [
    [digestOf(empty), bytesContent(empty)],
    [digestOf(content), bytesContent(content)],
  ];
  const manifests: [string, ManifestBytes][] = [[root.digest, { mediaType: manifestType, bytes }]];
  return { root, manifests: new Map(manifests), blobs: new Map(blobs) };
}
