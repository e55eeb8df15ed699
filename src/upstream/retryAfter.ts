/** When to ask again: `Retry-After` as it should be, and as registries write it. */

/** A week: nobody waits longer, and a wrong clock upstream must not stop us for ever. */
const maxSeconds = 7 * 24 * 3600;

const secondsPerUnit: Readonly<Record<string, number>> = {
  h: 3600,
  m: 60,
  s: 1,
  ms: 1e-3,
  us: 1e-6,
  ns: 1e-9,
};

// ghcr.io writes Go durations such as `880.092µs`; headers arrive as latin1, so the µ may have become two characters.
const part = /^(\d{1,12}(?:\.\d{1,12})?)(h|ms|m|s|ns|us|Â?µs|μs|Î¼s)/;

/**
 * Whole seconds, rounded up and at least 1, of a `Retry-After` value: delta-seconds, an HTTP date (RFC 9110 10.2.3) or a Go
 * duration. Undefined when it is none of these. `now` is in milliseconds since the epoch.
 */
export function parseRetryAfter(
  value: string | readonly string[] | undefined,
  now: number,
): number | undefined {
  const text = (typeof value === "string" ? value : value?.[0])?.trim().slice(0, 100);
  if (text === undefined || text === "") return undefined;
  if (/^\d+(?:\.\d+)?$/.test(text)) return clamp(Number(text));
  if (/^\d/.test(text)) return duration(text);
  // Only the dates of RFC 9110 5.6.7 begin with a day's name; Date.parse alone would take nearly anything.
  if (!/^(?:mon|tue|wed|thu|fri|sat|sun)/i.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : clamp((date - now) / 1000);
}

/** The same, found in the text of an error body: `retry-after: 880.092µs, allowed: 44000/minute`. */
export function findRetryAfter(body: string, now: number): number | undefined {
  const found = /retry-after:[ \t]{0,8}([^\s,;"]{1,64})/i.exec(body);
  return parseRetryAfter(found?.[1], now);
}

function duration(text: string): number | undefined {
  let rest = text;
  let seconds = 0;
  while (rest !== "") {
    const found = part.exec(rest);
    if (!found) return undefined;
    const unit = found[2] ?? "";
    seconds += Number(found[1]) * (secondsPerUnit[unit] ?? 1e-6);
    rest = rest.slice(found[0].length);
  }
  return clamp(seconds);
}

function clamp(seconds: number): number {
  return Math.min(Math.max(Math.ceil(seconds), 1), maxSeconds);
}
