/** A certificate authority of one's own, for TLS in tests: X.509 (RFC 5280) written as DER, signed with P-256. */
import { generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { isIP } from "node:net";

/** Key and certificate in PEM, as TLS servers take them. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface LeafOptions {
  /** Host names and IPv4 addresses that the certificate is good for. */
  readonly names: readonly string[];
  /** Default a day ago. */
  readonly notBefore?: Date;
  /** Default in a day. */
  readonly notAfter?: Date;
}

/** Who may sign with a certificate, as Fulcio writes it (fulcio docs/certificate-specification.md). */
export interface SignerOptions extends Pick<LeafOptions, "notBefore" | "notAfter"> {
  /** A mail address. */
  readonly subject: string;
  /** The identity provider that vouched for the subject. */
  readonly issuer: string;
  /** What the certificate is for. Default code signing. */
  readonly purpose?: "signing" | "servers";
}

export interface Authority {
  /** The authority's own certificate in PEM: what a client has to trust. */
  readonly cert: string;
  issue(options: LeafOptions): KeyAndCertificate;
  issueSigner(options: SignerOptions): KeyAndCertificate;
}

const day = 24 * 60 * 60 * 1000;

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const size = body.length;
  const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, Math.floor(size / 256), size % 256];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

const sequence = (...parts: readonly Uint8Array[]): Buffer => der(0x30, ...parts);
const oid = (...bytes: readonly number[]): Buffer => der(0x06, Buffer.from(bytes));
const yes = der(0x01, Buffer.from([0xff]));
const ecdsaWithSha256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));

function time(date: Date): Buffer {
  const digits = date.toISOString().replaceAll(/\D/g, "");
  return der(0x17, Buffer.from(`${digits.slice(2, 14)}Z`));
}

function commonName(name: string): Buffer {
  return sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(name)))));
}

/** 2.5.29.`number`, critical. */
function extension(number: number, value: Buffer): Buffer {
  return sequence(oid(0x55, 0x1d, number), yes, der(0x04, value));
}

function alternativeNames(names: readonly string[]): Buffer {
  const entries = names.map((name) =>
    isIP(name) === 4 ? der(0x87, Buffer.from(name.split(".").map(Number))) : der(0x82, Buffer.from(name)),
  );
  // Not critical, or clients that read the subject first would refuse it.
  return sequence(oid(0x55, 0x1d, 17), der(0x04, sequence(...entries)));
}

const purposes = { servers: 0x01, signing: 0x03 } as const;

function signerExtensions({ subject, issuer, purpose = "signing" }: SignerOptions): Buffer[] {
  // id-kp of RFC 5280, and Fulcio's own "OIDC Issuer (V2)", 1.3.6.1.4.1.57264.1.8.
  const usage = sequence(oid(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, purposes[purpose]));
  const issuerId = oid(0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x08);
  return [
    sequence(oid(0x55, 0x1d, 37), der(0x04, usage)),
    sequence(oid(0x55, 0x1d, 17), der(0x04, sequence(der(0x81, Buffer.from(subject))))),
    sequence(issuerId, der(0x04, der(0x0c, Buffer.from(issuer)))),
  ];
}

function certificate(
  issuer: { readonly name: string; readonly key: KeyObject },
  subject: { readonly name: string; readonly key: KeyObject },
  validity: { readonly notBefore: Date; readonly notAfter: Date },
  extensions: readonly Buffer[],
): string {
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256,
    commonName(issuer.name),
    sequence(time(validity.notBefore), time(validity.notAfter)),
    commonName(subject.name),
    subject.key.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = der(0x03, Buffer.from([0]), sign("sha256", body, issuer.key));
  const base64 = sequence(body, ecdsaWithSha256, signature).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/.{1,64}/g, "$&\n")}-----END CERTIFICATE-----\n`;
}

function around(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
}

/** A new authority. */
export function makeAuthority(): Authority {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = "Hubcap test authority";
  const leaf = (
    subject: string,
    {
      notBefore = around().notBefore,
      notAfter = around().notAfter,
    }: Pick<LeafOptions, "notBefore" | "notAfter">,
    extensions: readonly Buffer[],
  ): KeyAndCertificate => {
    const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
    return {
      key: own.privateKey.export({ type: "pkcs8", format: "pem" }),
      cert: certificate(
        { name, key: pair.privateKey },
        { name: subject, key: own.publicKey },
        { notBefore, notAfter },
        extensions,
      ),
    };
  };
  return {
    cert: certificate({ name, key: pair.privateKey }, { name, key: pair.publicKey }, around(), [
      extension(19, sequence(yes)),
    ]),
    issue: ({ names, ...validity }) =>
      leaf(names[0] ?? name, validity, [extension(19, sequence()), alternativeNames(names)]),
    issueSigner: (options) => leaf("", options, signerExtensions(options)),
  };
}
