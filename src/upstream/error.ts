/** What can go wrong at an upstream, in the five words that decide what happens next. */

/** It is not there · not for this account · not now, too much was asked · no answer · an answer that cannot be trusted. */
export type UpstreamErrorKind = "absent" | "denied" | "limited" | "unreachable" | "corrupt";

/** What an upstream error may carry besides its sentence. */
export interface UpstreamErrorOptions extends ErrorOptions {
  readonly status?: number | undefined;
  readonly retryAfter?: number | undefined;
}

/** An upstream did not give what was asked for. The message is a sentence for people and holds no secret. */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";
  readonly kind: UpstreamErrorKind;
  /** The HTTP status that the upstream answered, if it did. */
  readonly status: number | undefined;
  /** Whole seconds after which asking again makes sense. */
  readonly retryAfter: number | undefined;

  constructor(kind: UpstreamErrorKind, message: string, options: UpstreamErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.kind = kind;
    this.status = options.status;
    this.retryAfter = options.retryAfter;
  }
}
