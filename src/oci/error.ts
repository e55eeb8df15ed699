/** Errors for clients: the one table of codes, the reasons behind them, and the error that carries one of each. */

/** Why an answer is an error, for programs: `errors[0].detail.reason`. docs/troubleshooting.md has this table too. */
export const errorReasons = {
  "invalid-request": "the request is not one of the distribution API, or names what cannot exist",
  "host-not-served": "no upstream of this source host is configured",
  "login-required": "the client has to prove its identity first",
  "not-found": "the upstream has no such content, or the client may not know of it",
  "denied-by-policy": "a rule of `policy` or `verify` forbids the image",
  "denied-by-upstream": "the upstream denies the account, or no client, access to the repository",
  "credential-refused": "the upstream refuses the credential of the account, or it cannot be obtained",
  quota: "no pull of the upstream may be spent now",
  "upstream-rate-limit": "the upstream answered that it was asked too often",
  "client-limit": "this client has reached a limit of its own",
  "upstream-unreachable": "the upstream does not answer, or not in time",
  "upstream-invalid": "the upstream's answer cannot be trusted",
  "token-realm": "the upstream names a token service that is not among its tokenRealms",
  "private-address": "the upstream leads to a private address, which needs allowPrivateAddresses",
  "shutting-down": "this process is shutting down",
  internal: "Hubcap itself failed; its log says why",
} as const;

export type ErrorReason = keyof typeof errorReasons;

interface Row {
  readonly status: number;
  readonly message: string;
  /** Unless the error itself gives another one. */
  readonly reason: ErrorReason;
}

// distribution-spec "Error Codes", and for 5xx the two that the reference registry uses beside them.
const table = {
  BLOB_UNKNOWN: { status: 404, message: "blob unknown to registry", reason: "not-found" },
  DENIED: {
    status: 403,
    message: "requested access to the resource is denied",
    reason: "denied-by-upstream",
  },
  DIGEST_INVALID: {
    status: 400,
    message: "the digest is not a sha256 or sha512 digest",
    reason: "invalid-request",
  },
  MANIFEST_INVALID: {
    status: 400,
    message: "the reference is neither a tag nor a digest",
    reason: "invalid-request",
  },
  MANIFEST_UNKNOWN: { status: 404, message: "manifest unknown to registry", reason: "not-found" },
  NAME_INVALID: { status: 400, message: "invalid repository name", reason: "invalid-request" },
  NAME_UNKNOWN: { status: 404, message: "repository name not known to registry", reason: "not-found" },
  SIZE_INVALID: {
    status: 416,
    message: "the requested range lies outside of the blob",
    reason: "invalid-request",
  },
  TOOMANYREQUESTS: { status: 429, message: "too many requests", reason: "quota" },
  UNAUTHORIZED: { status: 401, message: "authentication required", reason: "login-required" },
  UNSUPPORTED: { status: 405, message: "the operation is unsupported", reason: "invalid-request" },
  UPSTREAM_INVALID: {
    status: 502,
    message: "the upstream's answer cannot be trusted",
    reason: "upstream-invalid",
  },
  UNAVAILABLE: { status: 503, message: "the upstream cannot be reached", reason: "upstream-unreachable" },
  UNKNOWN: { status: 500, message: "unknown error", reason: "internal" },
} as const satisfies Record<string, Row>;

export type ErrorCode = keyof typeof table;

export interface RegistryErrorOptions extends ErrorOptions {
  readonly retryAfter?: number;
  /** Where the code alone does not say it. */
  readonly reason?: ErrorReason | undefined;
}

/** An answer that is an error, thrown anywhere and rendered by http/reply.ts alone. */
export class RegistryError extends Error {
  override readonly name = "RegistryError";
  readonly code: ErrorCode;
  readonly reason: ErrorReason;
  /** Whole seconds after which asking again makes sense, for `Retry-After`. */
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message?: string, options: RegistryErrorOptions = {}) {
    super(message ?? table[code].message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.reason = options.reason ?? table[code].reason;
    this.retryAfter = options.retryAfter;
  }

  get status(): number {
    return table[this.code].status;
  }

  /** The body that the spec asks for: `{"errors":[{code, message, detail}]}`. */
  toJSON(): { errors: { code: string; message: string; detail: { reason: ErrorReason } }[] } {
    const { code, message, reason } = this;
    return { errors: [{ code, message, detail: { reason } }] };
  }
}
