/** How sockets to an upstream are made: with the address guard, so that the address that was checked is the one dialled. */
import { lookup as systemLookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { getCACertificates, TLSSocket } from "node:tls";
import { buildConnector } from "undici";
import { isPrivateAddress } from "./address.ts";

/** A name or a literal led to an address that this upstream may not use. */
export class PrivateAddressError extends Error {
  override readonly name = "PrivateAddressError";
}

interface ConnectorOptions {
  readonly allowPrivateAddresses: boolean;
  /** Certificates (PEM) that are trusted besides the system's. */
  readonly ca?: string | undefined;
  readonly connectMs: number;
  /** Called with every TLS connection, with the end of validity of its origin's certificate, in ms since the epoch. */
  readonly onCertificate?: ((origin: string, notAfter: number) => void) | undefined;
  /** The resolver that is guarded; the system's unless given. */
  readonly lookup?: LookupFunction;
}

/** A connector for undici. Its sockets speak HTTP/1.1 only: one HTTP/2 connection would carry all blobs of an origin. */
export function guardedConnector(options: ConnectorOptions): buildConnector.connector {
  const resolve = options.lookup ?? systemLookup;
  const dial = buildConnector({
    allowH2: false,
    timeout: options.connectMs,
    // Explicit, because NODE_TLS_REJECT_UNAUTHORIZED=0 would otherwise let any certificate pass at every upstream.
    rejectUnauthorized: true,
    lookup: options.allowPrivateAddresses ? resolve : guarded(resolve),
    ...(options.ca === undefined ? {} : { ca: [...getCACertificates("default"), options.ca] }),
  });
  const { onCertificate } = options;
  const connect: buildConnector.connector = onCertificate
    ? (target, callback) =>
        dial(target, (...result) => {
          report(target, result[1], onCertificate);
          callback(...result);
        })
    : dial;
  if (options.allowPrivateAddresses) return connect;
  return (target, callback) => {
    // Node never resolves a literal, so `lookup` does not see it.
    const host = target.hostname.replace(/^\[|\]$/g, "");
    if (isIP(host) !== 0 && isPrivateAddress(host)) callback(refusal(host), null);
    else connect(target, callback);
  };
}

function report(
  { protocol, hostname, port }: buildConnector.Options,
  socket: unknown,
  onCertificate: (origin: string, notAfter: number) => void,
): void {
  if (!(socket instanceof TLSSocket)) return;
  const notAfter = Date.parse(socket.getPeerCertificate().valid_to);
  if (Number.isFinite(notAfter)) onCertificate(new URL(`${protocol}//${hostname}:${port}`).origin, notAfter);
}

/** `resolve` without private addresses. What is left is what gets dialled: nothing is resolved twice (DNS rebinding). */
function guarded(resolve: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, "", 0);
      const all = Array.isArray(found) ? found : [{ address: found, family: isIP(found) }];
      const allowed = all.filter(({ address }) => !isPrivateAddress(address));
      const [first] = allowed;
      if (!first) return callback(refusal(hostname), "", 0);
      if (options.all) return callback(null, allowed);
      return callback(null, first.address, first.family);
    });
  };
}

function refusal(host: string): PrivateAddressError {
  return new PrivateAddressError(`${host} is, or resolves to, a private address`);
}

/** Until when the certificates of an upstream are good. */

/**
 * For {@link ConnectorOptions.onCertificate}: calls `report` with the earliest end of the certificates that `origins` showed
 * last. Origins that are only redirected to come and go, and are left out.
 */
export function watchCertificates(
  origins: readonly string[],
  report: (notAfter: number) => void,
): (origin: string, notAfter: number) => void {
  const ends = new Map<string, number>();
  return (origin, notAfter) => {
    if (!origins.includes(origin)) return;
    ends.set(origin, notAfter);
    report(Math.min(...ends.values()));
  };
}
