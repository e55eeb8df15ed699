/** Errors for clients: the one table of codes, and the error that carries one of them. */

// distribution-spec "Error Codes", and for 5xx the two that the reference registry uses beside them.
const table = {
  BLOB_UNKNOWN: { status: 404, message: "blob unknown to registry" },
  DENIED: { status: 403, message: "requested access to the resource is denied" },
  DIGEST_INVALID: { status: 400, message: "the digest is not a sha256 or sha512 digest" },
  MANIFEST_INVALID: { status: 400, message: "the reference is neither a tag nor a digest" },
  MANIFEST_UNKNOWN: { status: 404, message: "manifest unknown to registry" },
  NAME_INVALID: { status: 400, message: "invalid repository name" },
  NAME_UNKNOWN: { status: 404, message: "repository name not known to registry" },
  SIZE_INVALID: { status: 416, message: "the requested range lies outside of the blob" },
  TOOMANYREQUESTS: { status: 429, message: "too many requests" },
  UNAUTHORIZED: { status: 401, message: "authentication required" },
  UNSUPPORTED: { status: 405, message: "the operation is unsupported" },
  UPSTREAM_INVALID: { status: 502, message: "the upstream's answer cannot be trusted" },
  UNAVAILABLE: { status: 503, message: "the upstream cannot be reached" },
  UNKNOWN: { status: 500, message: "unknown error" },
} as const satisfies Record<string, { status: number; message: string }>;

export type ErrorCode = keyof typeof table;

/** An error response; only `http/registry.ts` renders it. */
export class RegistryError extends Error {
  override readonly name = "RegistryError";
  readonly code: ErrorCode;
  /** Whole seconds after which a retry may succeed, for `Retry-After`. */
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message?: string, options?: ErrorOptions & { retryAfter?: number }) {
    super(message ?? table[code].message, options);
    this.code = code;
    this.retryAfter = options?.retryAfter;
  }

  get status(): number {
    return table[this.code].status;
  }

  /** The body of the distribution-spec: `{"errors":[{code, message}]}`. */
  toJSON(): { errors: { code: string; message: string }[] } {
    return { errors: [{ code: this.code, message: this.message }] };
  }
}
