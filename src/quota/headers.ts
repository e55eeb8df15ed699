/** What upstreams say about quota, and what Hubcap says: headers and token claims, read leniently, never throwing. */

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What an answer says about a pull limit; what it does not say is undefined. */
export interface RateLimit {
  readonly limit: number | undefined;
  readonly windowMs: number | undefined;
  readonly remaining: number | undefined;
  /** Whom the upstream counts: an address, or the account's UUID. */
  readonly source: string | undefined;
}

/** Reads Docker Hub's headers: `ratelimit-limit: 100;w=21600`, `ratelimit-remaining: 20;w=21600`, `docker-ratelimit-source`. */
export function readRateLimit(headers: Headers): RateLimit {
  const limit = readCount(first(headers["ratelimit-limit"]));
  const remaining = readCount(first(headers["ratelimit-remaining"]));
  return {
    limit: limit && limit.count > 0 ? limit.count : undefined,
    windowMs: limit?.windowMs ?? remaining?.windowMs,
    remaining: remaining?.count,
    source: first(headers["docker-ratelimit-source"])?.trim().slice(0, 100) || undefined,
  };
}

const countGrammar = /^\s*(\d{1,12})(?=\s*(?:[;,]|$))/;
const windowGrammar = /;\s*w\s*=\s*(\d{1,9})(?=\s*(?:[;,]|$))/;

function readCount(text: string | undefined): { count: number; windowMs: number | undefined } | undefined {
  // Older drafts of the IETF allow several, the first being the one in force.
  const [value = ""] = (text ?? "").slice(0, 200).split(",");
  const count = countGrammar.exec(value)?.[1];
  if (count === undefined) return undefined;
  const seconds = Number(windowGrammar.exec(value)?.[1] ?? 0);
  return { count: Number(count), windowMs: seconds > 0 ? seconds * 1000 : undefined };
}

/** The limit that a Docker Hub token claims (`pull_limit`, `pull_limit_interval`), decoded and not verified. */
export function readTokenLimit(token: string): { limit: number; windowMs: number } | undefined {
  const payload = token.split(".", 3)[1];
  if (payload === undefined || token.length > 65_536) return undefined;
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(payload, "base64url").toString());
  } catch {
    return undefined;
  }
  const access = property(claims, "access");
  if (!Array.isArray(access)) return undefined;
  for (const grant of access) {
    const parameters = property(grant, "parameters");
    const limit = whole(property(parameters, "pull_limit"));
    const seconds = whole(property(parameters, "pull_limit_interval"));
    if (limit && seconds) return { limit, windowMs: seconds * 1000 };
  }
  return undefined;
}

function property(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function whole(value: unknown): number | undefined {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  return /^\d{1,12}$/.test(String(value)) ? Number(value) : undefined;
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  // The two letters mu, of which each is two bytes in UTF-8, where they were read as latin1 and put in lower case.
  âµs: 1e-3,
  "î¼s": 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const durationGrammar =
  /^(?:retry-after:\s*)?((?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|Â?µs|μs|Î¼s|ms|s|m|h)){1,6})(?=$|[\s,;])/i;
const partGrammar = /([\d.]+)(ns|us|Â?µs|μs|Î¼s|ms|s|m|h)/gi;

/**
 * Milliseconds that `retry-after` asks to wait: seconds, a date, or a duration with units as ghcr.io writes it
 * (`880.092µs, allowed: 44000/minute`). A date counts from the answer's own `date`, so that the clocks need not agree.
 */
export function readRetryAfter(headers: Headers, now: number): number | undefined {
  const text = first(headers["retry-after"])?.slice(0, 200).trim();
  if (!text) return undefined;
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text) * 1000;
  const duration = durationGrammar.exec(text)?.[1];
  if (duration !== undefined) {
    let ms = 0;
    for (const [, count, unit = ""] of duration.matchAll(partGrammar)) {
      ms += Number(count) * (unitMs[unit.toLowerCase()] ?? 0);
    }
    return ms;
  }
  const until = readDate(text);
  if (until === undefined) return undefined;
  return Math.max(0, until - (readDate(first(headers["date"])) ?? now));
}

// RFC 9110, 5.6.7: the preferred form only. Date.parse alone takes almost anything for a date.
const dateGrammar = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

function readDate(text: string | undefined): number | undefined {
  if (text === undefined || !dateGrammar.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}

function first(value: string | string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.[0];
}

/** A quota as it is told to clients, in pulls and seconds. */
export interface ToldQuota {
  readonly upstream: string;
  readonly limit: number;
  readonly windowSeconds: number;
  readonly remaining: number;
  /** Seconds until a spent pull comes back; undefined when none is spent or it is not known. */
  readonly resetSeconds?: number;
}

/** `RateLimit-Policy` and `RateLimit` as draft-ietf-httpapi-ratelimit-headers-10 writes them. */
export function formatRateLimit(
  quota: ToldQuota,
): Readonly<Record<"RateLimit-Policy" | "RateLimit", string>> {
  // Host names need no escaping in a structured field's string (RFC 9651, 3.3.3); the parameters are whole numbers.
  const name = `"${quota.upstream.replaceAll(/[^\w.:-]/g, "")}"`;
  const reset = quota.resetSeconds === undefined ? "" : `;t=${Math.ceil(quota.resetSeconds)}`;
  return {
    "RateLimit-Policy": `${name};q=${quota.limit};w=${Math.ceil(quota.windowSeconds)}`,
    RateLimit: `${name};r=${Math.max(0, quota.remaining)}${reset}`,
  };
}
