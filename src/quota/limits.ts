/** What is known of an upstream's limits: before it says anything, and from what its headers and tokens say; and for whom clients count. */
import type { LearntFrom, SavedBucket } from "./ledger.ts";
import type { RequestKind } from "./quota.ts";
import type { Allowance } from "./slidingWindow.ts";

/** `limit` requests in any `windowMs` milliseconds. */
export interface Quota {
  readonly limit: number;
  readonly windowMs: number;
}

/** The limits of one upstream, anonymous or with an account (sources: docs/quota.md). */
export interface KnownLimits {
  /** Pulls per window, until the upstream says otherwise. */
  readonly quota?: Quota;
  /** Milliseconds between two pulls, where the upstream limits their rate. */
  readonly minIntervalMs?: number;
  /** Requests of any kind: stays well below what an upstream takes for abuse. */
  readonly guard: Quota;
}

const minuteMs = 60_000;
const sixHoursMs = 6 * 60 * minuteMs;

/** The window that spending is summed over where an upstream has no limit. */
const unlimitedWindowMs = sixHoursMs;

// No other registry names a limit on requests of any kind below this one (Artifact Registry: 60,000, ghcr.io: 44,000).
const guard: Quota = { limit: 10_000, windowMs: minuteMs };

/** What is known of `upstream` before it says anything. */
export function knownLimits(upstream: string, authenticated: boolean): KnownLimits {
  switch (upstream) {
    case "docker.io":
      return {
        quota: { limit: authenticated ? 200 : 100, windowMs: sixHoursMs },
        // "Thousands of requests per minute" from an address are taken for abuse, and it may not be ours alone.
        guard: { limit: 1000, windowMs: minuteMs },
      };
    case "public.ecr.aws":
      // One pull per second and address, ten with an account: a rate, so pulls are spaced.
      return { minIntervalMs: authenticated ? 100 : 1000, guard };
    case "quay.io":
      // "A few requests per second per IP", with bursts.
      return { guard: { limit: 30, windowMs: 5000 } };
    default:
      return { guard };
  }
}

/**
 * Pulls that a request of `kind` costs. Docker Hub counts GETs of manifests, by tag and by digest, and nothing else. The
 * ledger has the same requests to every upstream.
 */
export function costOf(kind: RequestKind): 0 | 1 {
  return kind === "manifest-get" ? 1 : 0;
}

/**
 * Whose limits a client's requests count in: its own, by what it has proven, its address and its name together. What was proven is
 * often a token that all nodes share, so it alone would make them one client.
 */
export function payerOf(proven: string | undefined, address: string | undefined, client: string): string {
  return `${proven === undefined ? "" : `${proven} `}${address ?? "unknown"} ${client}`;
}

/** A payer without the name, which its client has chosen; undefined for Hubcap itself. */
export function holderOf(payer: string): string | undefined {
  const end = payer.lastIndexOf(" ");
  return end < 0 ? undefined : payer.slice(0, end);
}

/** All names of one holder have no more than this many clients may have. */
export const clientsPerHolder = 8;

interface Known {
  readonly allowance: Allowance;
  readonly from: LearntFrom;
  /** When the upstream last confirmed it, by the ledger's clock. */
  readonly seenAt: number;
}

export interface LearntLimitsOptions {
  /** These hold until the upstream says something: the first, else the second. */
  readonly configured: Quota | undefined;
  readonly preset: Quota | undefined;
  /** Without an account no upstream is unlimited. */
  readonly hasAccount: boolean;
}

/** One upstream's limit as far as it is known. Times are the ledger clock's. */
export class LearntLimits {
  readonly #assumed: Omit<Known, "seenAt">;
  readonly #hasAccount: boolean;
  #known: Known;
  #source: string | undefined;

  /** Starts from what earlier processes learnt. */
  constructor(
    { configured, preset, hasAccount }: LearntLimitsOptions,
    saved: SavedBucket | undefined,
    now: number,
  ) {
    const unlimited = { limit: undefined, windowMs: unlimitedWindowMs };
    this.#assumed = { allowance: configured ?? preset ?? unlimited, from: configured ? "config" : "none" };
    this.#hasAccount = hasAccount;
    this.#known = { ...this.#assumed, seenAt: now };
    this.#source = saved?.source;
    if (saved?.learntFrom === "headers" || saved?.learntFrom === "token") {
      const { limit, windowMs, learntFrom } = saved;
      this.#known = { allowance: { limit, windowMs }, from: learntFrom, seenAt: now };
    }
  }

  get allowance(): Allowance {
    return this.#known.allowance;
  }

  get from(): LearntFrom {
    return this.#known.from;
  }

  /** The address or account that the upstream says it counts. */
  get source(): string | undefined {
    return this.#source;
  }

  /** Reads the answer to a manifest's GET or HEAD; gives how many pulls it says are left. */
  readAnswer(headers: Headers, isOk: boolean, now: number): number | undefined {
    const { limit, windowMs, remaining, source } = readRateLimit(headers);
    if (source !== undefined) this.#source = source;
    if (limit !== undefined && windowMs !== undefined) {
      this.#known = { allowance: { limit, windowMs }, from: "headers", seenAt: now };
    } else if (isOk && source !== undefined && this.#hasAccount) {
      this.#readNoLimit(now);
    }
    // A number without a window is some other limit's, such as GitLab's of requests per minute.
    return windowMs === undefined ? undefined : remaining;
  }

  /** Reads the limit that a token claims. The headers of an answer overrule it: they name the limit in force. */
  readToken(token: string, now: number): void {
    const allowance = readTokenLimit(token);
    const { from } = this.#known;
    const hasBetter = from === "headers" && this.allowance.limit !== undefined;
    if (allowance && !hasBetter) this.#known = { allowance, from: "token", seenAt: now };
  }

  /**
   * An answer with a source but no limit is what Docker Hub gives to paid accounts. It may also give it for single images
   * that do not count: so a limit that it once named is believed for a window longer, and a configured one always.
   */
  #readNoLimit(now: number): void {
    const { from, seenAt, allowance } = this.#known;
    if (from === "config" || (from !== "none" && now - seenAt <= allowance.windowMs)) return;
    const unlimited = { limit: undefined, windowMs: allowance.windowMs };
    const known: Omit<Known, "seenAt"> =
      this.#assumed.from === "config" ? this.#assumed : { allowance: unlimited, from: "headers" };
    this.#known = { ...known, seenAt: now };
  }
}

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What an answer says about a pull limit; what it does not say is undefined. */
export interface RateLimit {
  readonly limit: number | undefined;
  readonly windowMs: number | undefined;
  readonly remaining: number | undefined;
  /** What the upstream counts by: an address, or the account's UUID. */
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
  // Both letters mu are two bytes in UTF-8: here as read in latin1, in lower case.
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

/** A quota as clients are answered, in pulls and seconds. */
interface ReportedQuota {
  readonly upstream: string;
  readonly limit: number;
  readonly windowSeconds: number;
  readonly remaining: number;
  /** Seconds until a spent pull comes back; undefined when none is spent or it is not known. */
  readonly resetSeconds?: number;
}

/** `RateLimit-Policy` and `RateLimit` as draft-ietf-httpapi-ratelimit-headers-10 writes them. */
export function formatRateLimit(
  quota: ReportedQuota,
): Readonly<Record<"RateLimit-Policy" | "RateLimit", string>> {
  // Host names need no escaping in a structured field's string (RFC 9651, 3.3.3); the parameters are whole numbers.
  const name = `"${quota.upstream.replaceAll(/[^\w.:-]/g, "")}"`;
  const reset = quota.resetSeconds === undefined ? "" : `;t=${Math.ceil(quota.resetSeconds)}`;
  return {
    "RateLimit-Policy": `${name};q=${quota.limit};w=${Math.ceil(quota.windowSeconds)}`,
    RateLimit: `${name};r=${Math.max(0, quota.remaining)}${reset}`,
  };
}
