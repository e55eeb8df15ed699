/**
 * The certificate of a listener, read from files and read again while it is used. A pair of certificate and key that cannot
 * be used never replaces one that can.
 */
import { constants, createHash, createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import type { Clock } from "../async/clock.ts";
import { poll } from "./watchedFile.ts";

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** The authorities of clients' certificates. */
  readonly clientCaFile?: string;
}

/** What can happen to a listener's certificate after its start. */
export interface CertificateEvents {
  /** The files have changed, and new connections get what they hold. */
  readonly renewed: (notAfter: Date) => void;
  /** What the files hold cannot be used, so what was read before stays. Called once for each reason. */
  readonly refused: (error: CertificateError) => void;
  /** The files hold again what is used. */
  readonly restored: () => void;
}

export interface CertificatesOptions {
  readonly files: CertificateFiles;
  readonly events: CertificateEvents;
  readonly clock: Clock;
}

/** Why the files cannot be used: which of them is wrong, and what should be there. */
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
interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca?: Buffer;
}

/** The pair in use, and the files that it came from. */
export class Certificates {
  readonly #options: CertificatesOptions;
  readonly #servers: ((context: SecureContextOptions) => void)[] = [];
  #used: Pair;
  /** The fingerprint of what the last reading found, or its failure. */
  #found: string;
  /** Why the files were refused last, until they can be used again. */
  #refusal: string | undefined;
  #stop: (() => void) | undefined;

  private constructor(options: CertificatesOptions, pair: Pair) {
    this.#options = options;
    this.#used = pair;
    this.#found = fingerprint(pair);
  }

  /** Reads the files. @throws CertificateError when they cannot be used. */
  static async open(options: CertificatesOptions): Promise<Certificates> {
    const pair = await readPair(options.files);
    checkPair(pair, options.files, options.clock.now());
    return new Certificates(options, pair);
  }

  /** What a TLS server is made with. */
  get context(): SecureContextOptions {
    return contextOf(this.#used);
  }

  /** When the certificate in use expires. */
  get notAfter(): Date {
    return new X509Certificate(this.#used.cert).validToDate;
  }

  /** Are clients asked for certificates of known authorities? */
  get asksClients(): boolean {
    return this.#options.files.clientCaFile !== undefined;
  }

  /** Reads the files every two seconds from now on, and calls `renew` with every new pair. */
  follow(renew: (context: SecureContextOptions) => void): void {
    this.#servers.push(renew);
    this.#stop ??= poll(() => this.look(), this.#options.clock);
  }

  close(): void {
    this.#stop?.();
  }

  /** Reads the files now. What they hold counts once two readings find the same: until then it may be half written. */
  async look(): Promise<void> {
    const { files, clock } = this.#options;
    let found: string;
    try {
      const pair = await readPair(files);
      found = fingerprint(pair);
      if (found === fingerprint(this.#used)) this.#restore();
      else if (found === this.#found) {
        checkPair(pair, files, clock.now());
        this.#use(pair);
      }
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      found ??= error.message;
      if (found === this.#found) this.#refuse(error);
    }
    this.#found = found;
  }

  #use(pair: Pair): void {
    this.#used = pair;
    this.#refusal = undefined;
    // Open connections keep what they have agreed on.
    for (const renew of this.#servers) renew(contextOf(pair));
    this.#options.events.renewed(this.notAfter);
  }

  #restore(): void {
    if (this.#refusal === undefined) return;
    this.#refusal = undefined;
    this.#options.events.restored();
  }

  #refuse(error: CertificateError): void {
    if (error.message === this.#refusal) return;
    this.#refusal = error.message;
    this.#options.events.refused(error);
  }
}

/** A chain is a few kilobytes; a larger file is a mistake. */
const maxBytes = 1024 * 1024;

// TLS 1.3 and, of 1.2, what has forward secrecy and is authenticated (RFC 9325 section 4.2).
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

/** @throws CertificateError for a file that cannot be read */
async function readPair(files: CertificateFiles): Promise<Pair> {
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

/** Can the pair be used at `now`, in ms since the epoch? @throws CertificateError that says why not */
function checkPair({ cert, key, ca }: Pair, files: CertificateFiles, now: number): void {
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
    // OpenSSL's message, such as "ee key too small", names no part of the key.
    const why = error instanceof Error ? error.message : String(error);
    fail("certificateFile", `a chain of certificates that TLS can use (${why})`);
  }
}

function contextOf({ cert, key, ca }: Pair): SecureContextOptions {
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

/** Tells two readings apart without a second copy of a key. */
function fingerprint({ cert, key, ca }: Pair): string {
  const hash = createHash("sha256");
  for (const part of [cert, key, ca]) hash.update(`${part?.length ?? -1} `).update(part ?? "");
  return hash.digest("base64");
}
