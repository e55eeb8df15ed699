/**
 * The certificate of a listener, read from files and read again while it serves. A pair that cannot be served never takes
 * the place of one that can.
 */
import { X509Certificate } from "node:crypto";
import type { SecureContextOptions } from "node:tls";
import {
  CertificateError,
  checkPair,
  contextOf,
  fingerprint,
  readPair,
  type CertificateFiles,
  type Pair,
} from "./certificateFiles.ts";

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
