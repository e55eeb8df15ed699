/** What can go wrong at an upstream. The one place that knows the codes of Node, OpenSSL and undici. */
import type { ErrorReason } from "../oci/error.ts";

/** Not there · not for this account · too many requests · no answer · an answer that cannot be trusted. */
type UpstreamErrorKind = "absent" | "denied" | "limited" | "unreachable" | "corrupt";

/** What an upstream error may carry besides its sentence. */
interface UpstreamErrorOptions extends ErrorOptions {
  readonly status?: number | undefined;
  readonly retryAfter?: number | undefined;
  /** Where the kind alone does not say it. */
  readonly reason?: ErrorReason;
}

const reasonOf: Readonly<Record<UpstreamErrorKind, ErrorReason>> = {
  absent: "not-found",
  denied: "denied-by-upstream",
  limited: "quota",
  unreachable: "upstream-unreachable",
  corrupt: "upstream-invalid",
};

/** An upstream did not give what was requested. The message is a sentence and holds no secret. */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";
  readonly kind: UpstreamErrorKind;
  /** Why, for programs. */
  readonly reason: ErrorReason;
  /** The HTTP status that the upstream answered, if it did. */
  readonly status: number | undefined;
  /** Whole seconds after which the next request makes sense. */
  readonly retryAfter: number | undefined;

  constructor(kind: UpstreamErrorKind, message: string, options: UpstreamErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.kind = kind;
    this.reason = options.reason ?? reasonOf[kind];
    this.status = options.status;
    this.retryAfter = options.retryAfter;
  }
}

/** A name or a literal led to an address that this upstream may not use. */
export class PrivateAddressError extends Error {
  override readonly name = "PrivateAddressError";
}

/** How long Docker Hub's abuse limit asks to wait, in seconds. */
export const abusePauseSeconds = 60;

const unreachable: Readonly<Record<string, string>> = {
  ENOTFOUND: "its name does not resolve",
  EAI_AGAIN: "the name server does not answer",
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection broke",
  EPIPE: "the connection broke",
  UND_ERR_SOCKET: "the connection broke",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "the connection broke before the answer was complete",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no route to it",
  ETIMEDOUT: "it did not take the connection in time",
  UND_ERR_CONNECT_TIMEOUT: "it did not take the connection in time",
  UND_ERR_HEADERS_TIMEOUT: "it did not answer in time",
  UND_ERR_BODY_TIMEOUT: "it stalled in the middle of its answer",
  EPROTO: "TLS could not be agreed on",
};

// OpenSSL's verdicts on a certificate (Node "TLS", "X509 certificate error codes"), and Node's own on the name in it.
const certificate =
  /^(?:CERT_|CRL_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|ERROR_IN_CERT_|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|ERR_TLS_CERT_ALTNAME_INVALID)/;

/** The upstream error for whatever `error` a request to `host` failed with. */
export function connectionError(error: unknown, host: string): UpstreamError {
  const cause = { cause: error };
  if (error instanceof PrivateAddressError) {
    return new UpstreamError("corrupt", error.message, { ...cause, reason: "private-address" });
  }
  const code = codeOf(error);
  const plain = unreachable[code];
  if (plain !== undefined)
    return new UpstreamError("unreachable", `${host} cannot be reached: ${plain}`, cause);
  if (isAboutCertificate(code)) {
    const why = code.toLowerCase().replaceAll("_", " ");
    return new UpstreamError("corrupt", `${host} showed a certificate that is not trusted (${why})`, cause);
  }
  const isMalformed = error instanceof Error && error.name === "HTTPParserError";
  if (code === "UND_ERR_HEADERS_OVERFLOW" || (isMalformed && error.message.includes("Expected HTTP/"))) {
    return new UpstreamError("corrupt", `${host} did not answer in proper HTTP`, cause);
  }
  if (isMalformed) {
    // Docker Hub's abuse limit answers with bare line feeds (docker/hub-feedback#1907).
    const message = `${host} gave the malformed answer of a registry under too many requests`;
    return new UpstreamError("limited", message, {
      ...cause,
      status: 429,
      retryAfter: abusePauseSeconds,
      reason: "upstream-rate-limit",
    });
  }
  const why = code.startsWith("ERR_SSL_") ? "TLS could not be agreed on" : code || "the request failed";
  return new UpstreamError("unreachable", `${host} cannot be reached: ${why}`, cause);
}

/** Whether a request died on a connection that the other side had closed while it was idle: it may be sent once more. */
export function diedIdle(error: unknown): boolean {
  if (!(error instanceof UpstreamError)) return false;
  const { cause } = error;
  const code = codeOf(cause);
  if (code === "UND_ERR_SOCKET") {
    const socket =
      typeof cause === "object" && cause !== null && "socket" in cause ? cause.socket : undefined;
    // Without a byte read it was a new connection, not an idle one.
    return (
      typeof socket === "object" && socket !== null && "bytesRead" in socket && Number(socket.bytesRead) > 0
    );
  }
  return code === "ECONNRESET" || code === "EPIPE";
}

const beforeRequest = new Set([
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "EPROTO",
]);

/** Whether a request failed because no connection could be made, which what was requested has no part in. */
export function isAboutConnection({ cause }: UpstreamError): boolean {
  const code = codeOf(cause);
  const isRefused = cause instanceof PrivateAddressError || isAboutCertificate(code);
  return isRefused || code.startsWith("ERR_SSL_") || beforeRequest.has(code);
}

/** Whether `code` is a verdict on a certificate. */
export function isAboutCertificate(code: string): boolean {
  return certificate.test(code);
}

/** The code of Node, OpenSSL or undici that an error carries; empty when it has none. */
export function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  if ("code" in error && typeof error.code === "string") return error.code;
  // When several addresses fail, Node throws an AggregateError.
  return error instanceof AggregateError ? codeOf(error.errors[0]) : "";
}
