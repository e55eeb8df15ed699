/** The files of a listener's certificate: what they hold, and whether that can be served. */
import { constants, createHash, createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** The authorities of clients' certificates. */
  readonly clientCaFile?: string;
}

/** Why the files cannot be served: which of them is wrong, and what should be there. */
export class CertificateError extends Error {
  override readonly name = "CertificateError";
  readonly file: keyof CertificateFiles;
  readonly expected: string;

  constructor(file: keyof CertificateFiles, path: string, expected: string) {
    super(`${path} should hold ${expected}`);
    this.file = file;
    this.expected = expected;
  }
}

/** What the files held at one moment. */
export interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
}

/** A chain is a few kilobytes; a larger file is a mistake. */
const maxBytes = 1024 * 1024;

// TLS 1.3 and, of 1.2, only what keeps old recordings secret and is authenticated (RFC 9325 section 4.2).
const ciphers = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** Reads them now. @throws CertificateError for one that cannot be read */
export async function readPair(files: CertificateFiles): Promise<Pair> {
  const { clientCaFile } = files;
  return {
    cert: await readPart(files, "certificateFile", "a PEM certificate"),
    key: await readPart(files, "keyFile", "a PEM private key"),
    ...(clientCaFile !== undefined && { ca: await readPart(files, "clientCaFile", "PEM certificates") }),
  };
}

async function readPart(
  files: CertificateFiles,
  file: keyof CertificateFiles,
  what: string,
): Promise<Buffer> {
  const path = files[file] ?? "";
  try {
    if ((await stat(path)).size <= maxBytes) return await readFile(path);
  } catch {
    throw new CertificateError(file, path, `${what}, and cannot be read`);
  }
  throw new CertificateError(file, path, `${what} and not more than ${maxBytes} bytes`);
}

/** Can the pair be served at `now`, in ms since the epoch? @throws CertificateError that says why not */
export function checkPair({ cert, key, ca }: Pair, files: CertificateFiles, now: number): void {
  const fail = (file: keyof CertificateFiles, expected: string): never => {
    throw new CertificateError(file, files[file] ?? "", expected);
  };
  const certificate = parsed(cert) ?? fail("certificateFile", "a whole PEM certificate");
  const { validFromDate: from, validToDate: to } = certificate;
  if (to.getTime() <= now) {
    fail("certificateFile", `a certificate that is still good; this one was until ${to.toISOString()}`);
  }
  if (from.getTime() > now) {
    fail("certificateFile", `a certificate that is good already; this one is from ${from.toISOString()} on`);
  }
  const secret = keyIn(key) ?? fail("keyFile", "a whole PEM private key without a passphrase");
  if (!certificate.checkPrivateKey(secret)) {
    fail("keyFile", `the private key of the certificate in ${files.certificateFile}`);
  }
  if (ca && !areCertificates(ca)) fail("clientCaFile", "whole PEM certificates and nothing else");
  try {
    createSecureContext(contextOf({ cert, key, ...(ca && { ca }) }));
  } catch (error) {
    // OpenSSL's words, such as "ee key too small". They name no part of the key.
    const why = error instanceof Error ? error.message : String(error);
    fail("certificateFile", `a chain of certificates that TLS can use (${why})`);
  }
}

/** What a TLS server is made with. */
export function contextOf({ cert, key, ca }: Pair): SecureContextOptions {
  return {
    cert,
    key,
    ...(ca && { ca }),
    minVersion: "TLSv1.2",
    ciphers,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}

function areCertificates(pem: Buffer): boolean {
  const blocks = pem.toString("latin1").split(/(?=-----BEGIN )/);
  const certificates = blocks.filter((block) => block.startsWith("-----BEGIN "));
  return certificates.length > 0 && certificates.every((block) => parsed(Buffer.from(block)) !== undefined);
}

function parsed(pem: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(pem);
  } catch {
    return undefined;
  }
}

function keyIn(pem: Buffer): KeyObject | undefined {
  try {
    return createPrivateKey(pem);
  } catch {
    return undefined;
  }
}

/** Tells two readings apart without keeping a key a second time. */
export function fingerprint({ cert, key, ca }: Pair): string {
  const hash = createHash("sha256");
  for (const part of [cert, key, ca]) hash.update(`${part?.length ?? -1} `).update(part ?? "");
  return hash.digest("base64");
}
