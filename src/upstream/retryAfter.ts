/** When to ask again, in what a client is told: whole seconds, from a header or from the text of an error. */
import { readRetryAfter, type Headers } from "../quota/headers.ts";

/** A week: nobody waits longer, and a wrong clock upstream must not stop us for ever. */
const maxSeconds = 7 * 24 * 3600;

/** Whole seconds, rounded up and at least 1, that `Retry-After` asks to wait. `now` is in milliseconds since the epoch. */
export function retryAfterIn(headers: Headers, now: number): number | undefined {
  const ms = readRetryAfter(headers, now);
  return ms === undefined ? undefined : Math.min(Math.max(Math.ceil(ms / 1000), 1), maxSeconds);
}

/** The same, found in the text of an error body: `retry-after: 880.092µs, allowed: 44000/minute`. */
export function findRetryAfter(body: string, now: number): number | undefined {
  const found = /retry-after:[ \t]{0,8}([^\s,;"]{1,64})/i.exec(body);
  return found ? retryAfterIn({ "retry-after": found[1] }, now) : undefined;
}
