/** Whose signatures count: keys, identities, and everything that may be wrong with a signature. */
import { describe, expect, it } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { openCosign, TrustError, type CosignOptions } from "../../../src/trust/cosign.ts";
import type { Signature } from "../../../src/trust/signature.ts";
import { makeAuthority } from "../../support/certificates.ts";
import type { Bundle } from "../../support/images.ts";
import { Signer, TestLog, trustedRoot } from "../../support/signer.ts";

const manifest = Buffer.from('{"an":"image"}');
const image = { digest: digestOf(manifest), bytes: manifest };
const descriptor = {
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  digest: image.digest,
  size: manifest.length,
};
const other = digestOf(Buffer.from("another image"));

interface Layer {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The one signature in a pushed manifest, as it is found there. */
async function signatureIn({ root, manifests, blobs }: Bundle): Promise<Signature> {
  const document = JSON.parse(manifests.get(root.digest)?.bytes.toString() ?? "") as { layers: Layer[] };
  const [layer] = document.layers;
  const content = blobs.get(layer?.digest ?? "");
  const chunks: Buffer[] = [];
  for await (const chunk of content?.read(0, content.size) ?? []) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  return layer?.annotations
    ? { kind: "payload", payload: bytes, annotations: layer.annotations }
    : { kind: "bundle", bundle: bytes };
}

async function fault(options: Partial<CosignOptions>, bundle: Bundle): Promise<string | undefined> {
  const judge = await openCosign({ name: "verify.0", keys: [], identities: [], ...options });
  return judge.judge(await signatureIn(bundle), image);
}

/** Both formats of one signer. */
const formats = [
  ["the tag scheme", (signer: Signer, flaws = {}) => signer.byTag(image.digest, flaws)],
  ["a bundle", (signer: Signer, flaws = {}) => signer.byBundle(descriptor, flaws)],
] as const;

const log = new TestLog();
const authority = makeAuthority();
const whom = { subject: "release@example.test", issuer: "https://accounts.example.test" };
const root = trustedRoot([authority], [log]);
const keyless = (options: object = {}, at?: number): Signer =>
  Signer.withCertificate(authority, { ...whom, ...options }, log, at);

describe.each(formats)("a signature in %s", (_name, by) => {
  const signer = Signer.withKey();
  const keys = [Signer.withKey().publicKey, signer.publicKey];

  it("counts when one of the keys made it", async () => {
    expect(await fault({ keys }, by(signer))).toBeUndefined();
  });

  it("does not count when another key made it", async () => {
    expect(await fault({ keys: [keys[0] ?? ""] }, by(signer))).toMatch(/another key/);
  });

  it("does not count when it is of another image, copied over", async () => {
    expect(await fault({ keys }, by(signer, { of: other }))).toBe(`it is of another image (${other})`);
  });

  it("does not count when it was changed after it was made", async () => {
    expect(await fault({ keys }, by(signer, { of: other, tampered: true }))).toMatch(/was changed/);
  });

  it("counts for an identity, exactly or by an expression", async () => {
    const identities = [
      [whom],
      [{ ...whom, subject: "somebody@example.test" }, whom],
      [{ subjectRegExp: /@example\.test$/, issuerRegExp: /^https:\/\/accounts\./ }],
    ];
    for (const wanted of identities) {
      expect(await fault({ identities: wanted, trustedRoot: root }, by(keyless()))).toBeUndefined();
    }
  });

  it.each([
    ["another subject", { ...whom, subject: "release@example.tes" }],
    ["a subject that only contains it", { ...whom, subject: "release" }],
    ["another issuer", { ...whom, issuer: "https://accounts.example.test/" }],
    ["an expression that does not fit", { issuer: whom.issuer, subjectRegExp: /^admin@/ }],
    ["an expression for the issuer that does not fit", { subject: whom.subject, issuerRegExp: /github/ }],
  ])("does not count for %s", async (_name, identity) => {
    expect(await fault({ identities: [identity], trustedRoot: root }, by(keyless()))).toBe(
      `it was made by ${whom.subject} (issuer ${whom.issuer}), whose signature does not count`,
    );
  });

  const identities = [whom];

  it("does not count when the certificate was over, or not begun, when it was made", async () => {
    const hour = 3_600_000;
    const late = keyless({ notAfter: new Date(Date.now() - hour) });
    expect(await fault({ identities, trustedRoot: root }, by(late))).toMatch(
      /was not valid when it was made/,
    );
    const early = keyless({ notBefore: new Date(Date.now() + hour) });
    expect(await fault({ identities, trustedRoot: root }, by(early))).toMatch(/was not valid/);
    // Over by now, but not when it was made: that is what the log is for.
    const then = Date.now() - 2 * hour;
    const good = keyless({ notAfter: new Date(Date.now() - hour) }, then);
    expect(await fault({ identities, trustedRoot: root }, by(good))).toBeUndefined();
  });

  it("does not count when another authority or log vouches for it", async () => {
    const foreign = Signer.withCertificate(makeAuthority(), whom, log);
    expect(await fault({ identities, trustedRoot: root }, by(foreign))).toMatch(/no authority/);
    const unlogged = Signer.withCertificate(authority, whom, new TestLog());
    expect(await fault({ identities, trustedRoot: root }, by(unlogged))).toMatch(/cannot be proven|no log/);
    const silent = Signer.withCertificate(authority, whom);
    expect(await fault({ identities, trustedRoot: root }, by(silent))).toMatch(/proves when|no log/);
  });

  it("does not count when the certificate is a server's", async () => {
    const server = keyless({ purpose: "servers" });
    expect(await fault({ identities, trustedRoot: root }, by(server))).toMatch(/not for signing/);
  });

  it("does not count as a key's for identities, nor as an identity's for keys", async () => {
    expect(await fault({ identities, trustedRoot: root }, by(signer))).toMatch(/only identities count/);
    expect(await fault({ keys }, by(keyless()))).toMatch(/only keys count/);
  });

  it("has to be in the log, when a key made it and the trusted root has one", async () => {
    expect(await fault({ keys, trustedRoot: root }, by(signer))).toMatch(/no log/);
  });
});

describe("a bundle", () => {
  const signer = Signer.withKey();
  const keys = [signer.publicKey];

  it("is no signature when it attests something else", async () => {
    const attestation = signer.byBundle(descriptor, { predicate: "https://spdx.dev/Document" });
    expect(await fault({ keys }, attestation)).toMatch(/an attestation/);
  });

  it.each(["sha512", "md5", "gitCommit"])("does not count when it names a %s digest", async (algorithm) => {
    expect(await fault({ keys }, signer.byBundle(descriptor, { algorithm }))).toBe(
      "it names no sha256 digest",
    );
  });

  it.each([
    "",
    "null",
    "[]",
    "{}",
    '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}',
    '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"AAAA"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AAAA"},"signature":"AAAA"}}',
  ])("of %j does not count, and nothing breaks", async (text) => {
    const judge = await openCosign({ name: "verify.0", keys, identities: [] });
    expect(judge.judge({ kind: "bundle", bundle: Buffer.from(text) }, image)).toBeTypeOf("string");
  });
});

it.each([
  { keys: ["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] },
  { trustedRoot: "[]", identities: [whom] },
  { trustedRoot: trustedRoot([authority], []), identities: [whom] },
  { trustedRoot: trustedRoot([], [log]), identities: [whom] },
  { trustedRoot: '{"certificateAuthorities":[{"certChain":{"certificates":[{"rawBytes":"AAAA"}]}}]}' },
])("refuses to begin with %j", async (options) => {
  await expect(openCosign({ name: "verify.0", keys: [], identities: [], ...options })).rejects.toThrow(
    TrustError,
  );
});

it("has another key whenever something else is accepted", async () => {
  const one = Signer.withKey().publicKey;
  const all = [
    { keys: [one] },
    { keys: [one, Signer.withKey().publicKey] },
    { identities: [whom], trustedRoot: root },
    { identities: [{ ...whom, issuer: "https://other.test" }], trustedRoot: root },
    { identities: [{ issuer: whom.issuer, subjectRegExp: /a/ }], trustedRoot: root },
    { identities: [whom], trustedRoot: trustedRoot([authority, makeAuthority()], [log]) },
  ];
  const keys = await Promise.all(
    all.map(async (options) => (await openCosign({ name: "n", keys: [], identities: [], ...options })).key),
  );
  expect(new Set(keys).size).toBe(all.length);
});
