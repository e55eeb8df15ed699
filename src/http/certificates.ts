/**
 * The certificate of a listener, read from files and read again while it serves. A pair that cannot be served never takes
 * the place of one that can.
 */
import { constants, createHash, createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";

/** What happens to the certificate of a listener after its start. */
export interface CertificateEvents {
  /** The files changed, and what they hold is served now. */
  readonly renewed: (notAfter: Date) => void;
  /** The files hold what cannot be served, so what was read before is served on. Told once for each thing that is wrong. */
  readonly refused: (error: CertificateError) => void;
  /** The files hold again what is served. */
  readonly restored: () => void;
}

export interface CertificatesOptions {
  readonly files: CertificateFiles;
  readonly events: CertificateEvents;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** How often the files are read, in ms. A new pair is served after two looks at the latest. */
const everyMs = 2000;

/** The pair that is served, and the files that it came from. */
export class Certificates {
  readonly #options: CertificatesOptions;
  readonly #servers: ((context: SecureContextOptions) => void)[] = [];
  #served: Pair;
  #seen: string;
  #complaint: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  private constructor(options: CertificatesOptions, pair: Pair) {
    this.#options = options;
    this.#served = pair;
    this.#seen = fingerprint(pair);
  }

  /** Reads the files. @throws CertificateError when they cannot be served. */
  static async open(options: CertificatesOptions): Promise<Certificates> {
    const pair = await readPair(options.files);
    checkPair(pair, options.files, options.now());
    return new Certificates(options, pair);
  }

  /** What a TLS server is made with. */
  get context(): SecureContextOptions {
    return contextOf(this.#served);
  }

  /** Until when the certificate that is served is good. */
  get notAfter(): Date {
    return new X509Certificate(this.#served.cert).validToDate;
  }

  /** Do clients have to show certificates of known authorities, or may they? */
  get asksClients(): boolean {
    return this.#options.files.clientCaFile !== undefined;
  }

  /**
   * Hands every new pair to `renew`, and follows the files from now on. They are read every few seconds and not watched:
   * Kubernetes swaps a link two folders up when it renews a mounted secret, which a watch of the file does not see, and
   * on network file systems nothing is told at all. What they hold decides, not their times.
   */
  follow(renew: (context: SecureContextOptions) => void): void {
    this.#servers.push(renew);
    this.#timer ??= this.#next();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Reads the files now. What is found is judged once it is the same on two looks: until then somebody may be writing. */
  async look(): Promise<void> {
    const { files, now } = this.#options;
    let found: string;
    try {
      const pair = await readPair(files);
      found = fingerprint(pair);
      if (found === fingerprint(this.#served)) this.#content();
      else if (found === this.#seen) {
        checkPair(pair, files, now());
        this.#serve(pair);
      }
    } catch (error) {
      if (!(error instanceof CertificateError)) throw error;
      found ??= error.message;
      if (found === this.#seen) this.#complain(error);
    }
    this.#seen = found;
  }

  #next(): NodeJS.Timeout {
    return setTimeout(() => {
      void this.look().finally(() => {
        if (this.#timer) this.#timer = this.#next();
      });
    }, everyMs).unref();
  }

  #serve(pair: Pair): void {
    this.#served = pair;
    this.#complaint = undefined;
    // Connections that are open keep what they agreed on; only new ones meet the new pair.
    for (const renew of this.#servers) renew(contextOf(pair));
    this.#options.events.renewed(this.notAfter);
  }

  #content(): void {
    if (this.#complaint === undefined) return;
    this.#complaint = undefined;
    this.#options.events.restored();
  }

  #complain(error: CertificateError): void {
    if (error.message === this.#complaint) return;
    this.#complaint = error.message;
    this.#options.events.refused(error);
  }
}

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
