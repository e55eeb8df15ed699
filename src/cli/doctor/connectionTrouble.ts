/** What a failed connection means, as a finding: DNS, the port, the certificate, or time. */
import { PrivateAddressError, codeOf, isAboutCertificate } from "../../upstream/error.ts";
import { Finding, type VerdictCode } from "./verdicts.ts";

const known: Readonly<Record<string, readonly [VerdictCode, string]>> = {
  ENOTFOUND: ["dns", "does not resolve here"],
  EAI_AGAIN: ["dns", "does not resolve here, as no name server answers"],
  ECONNREFUSED: ["refused", "refuses connections"],
  EHOSTUNREACH: ["timeout", "has no route from here"],
  ENETUNREACH: ["timeout", "has no route from here"],
  ETIMEDOUT: ["timeout", "does not take connections in time"],
  UND_ERR_CONNECT_TIMEOUT: ["timeout", "does not take connections in time"],
  UND_ERR_HEADERS_TIMEOUT: ["timeout", "takes connections, but does not answer in time"],
  UND_ERR_BODY_TIMEOUT: ["timeout", "stalls in the middle of its answer"],
  CERT_HAS_EXPIRED: ["tls-expired", "shows a certificate that has expired"],
  CERT_NOT_YET_VALID: ["tls-expired", "shows a certificate that is not valid yet"],
  ERR_TLS_CERT_ALTNAME_INVALID: ["tls-name", "shows a certificate for another name"],
  HOSTNAME_MISMATCH: ["tls-name", "shows a certificate for another name"],
};

/** The finding for a connection to `host` that failed; undefined when the error is about something else. */
export function troubleOf(error: unknown, host: string): Finding | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Finding) return cause;
    if (cause instanceof PrivateAddressError)
      return new Finding("private-address", cause.message, { cause: error });
    const code = codeOf(cause);
    const [verdict, text] = known[code] ?? otherwise(code) ?? [];
    if (verdict !== undefined) return new Finding(verdict, `${host} ${text}`, { cause: error });
  }
  return undefined;
}

// What OpenSSL calls the alerts by which a server refuses a client without a certificate, or with another (RFC 8446 6.2).
const wantsCertificate = /ALERT_(?:CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE)$/;

function otherwise(code: string): readonly [VerdictCode, string] | undefined {
  if (wantsCertificate.test(code)) return ["mirror-login", "asks clients for a certificate"];
  if (isAboutCertificate(code))
    return ["tls-untrusted", "shows a certificate of an authority that is not trusted here"];
  if (code === "EPROTO" || code.startsWith("ERR_SSL_"))
    return ["tls-none", "does not speak TLS on this port"];
  return undefined;
}
