/** Why an image is not fetched ahead, and whether waiting helps. */
import { RegistryError } from "../oci/error.ts";
import { FillError, IntegrityError } from "../store/error.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { Staleness } from "./context.ts";

/** Something about the image itself, or about the disk. The message is a sentence for people. */
export class WarmError extends Error {
  override readonly name: string = "WarmError";
}

/** To go on, images that pulls have used would have to be evicted. */
export class NoSpaceError extends WarmError {
  override readonly name = "NoSpaceError";

  constructor() {
    super("the store is at its high-water mark, and nothing is evicted for what no one has asked for yet");
  }
}

/** What is held was not confirmed, so it is not known whether it is what the tag means now. */
export class UncheckedError extends WarmError {
  override readonly name = "UncheckedError";
  readonly reason: Staleness["reason"];

  constructor({ reason, warning }: Staleness) {
    super(`it is held, but its tag could not be checked: ${warning}`);
    this.reason = reason;
  }
}

/** How an image ended that is not held. */
export interface Setback {
  /** `waiting` for quota; or `failed`, which waiting alone does not mend. */
  readonly state: "waiting" | "failed";
  /** One sentence for people. */
  readonly error: string;
  /** When asking again makes sense, in ms since the epoch; undefined when no one knows. */
  readonly retryAt?: number;
}

/** What `error` means for an image, or undefined when it is nothing that a warm image meets in good order. */
export function setbackOf(error: unknown, now: number): Setback | undefined {
  if (error instanceof UncheckedError && error.reason === "limited")
    return { state: "waiting", error: error.message };
  if (error instanceof WarmError) return { state: "failed", error: error.message };
  if (error instanceof FillError || error instanceof IntegrityError)
    return { state: "failed", error: error.message };
  if (!(error instanceof RegistryError)) return undefined;
  const { cause } = error;
  if (!(cause instanceof UpstreamError) || cause.kind !== "limited")
    return { state: "failed", error: error.message };
  const { message, retryAfter } = cause;
  return {
    state: "waiting",
    error: message,
    ...(retryAfter !== undefined && { retryAt: now + retryAfter * 1000 }),
  };
}
