import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatRateLimit, readRateLimit, readRetryAfter, readTokenLimit } from "../../../src/quota/limits.ts";

function token(claims: unknown): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.signature`;
}

function grant(parameters: unknown): unknown {
  return { access: [{ type: "repository", parameters }] };
}

const nothing = { limit: undefined, windowMs: undefined, remaining: undefined, source: undefined };

describe("Docker Hub's headers", () => {
  test("name the limit, its window, what is left and whom it counts", () => {
    const headers = {
      "ratelimit-limit": "100;w=21600",
      "ratelimit-remaining": "20;w=21600",
      "docker-ratelimit-source": "192.0.2.1",
    };
    expect(readRateLimit(headers)).toEqual({
      limit: 100,
      windowMs: 21_600_000,
      remaining: 20,
      source: "192.0.2.1",
    });
  });

  test.each([
    ["spaces", { "ratelimit-limit": " 100 ; w = 21600 " }, { limit: 100, windowMs: 21_600_000 }],
    ["more parameters", { "ratelimit-limit": "100;burst=5;w=60;x" }, { limit: 100, windowMs: 60_000 }],
    ["several limits: the first", { "ratelimit-limit": "10;w=1, 50;w=60" }, { limit: 10, windowMs: 1000 }],
    ["a repeated header", { "ratelimit-limit": ["7;w=60", "8;w=60"] }, { limit: 7, windowMs: 60_000 }],
    ["nothing left", { "ratelimit-remaining": "0;w=60" }, { remaining: 0, windowMs: 60_000 }],
    ["no window", { "ratelimit-limit": "2000" }, { limit: 2000 }],
    ["a limit of nought", { "ratelimit-limit": "0;w=60" }, { windowMs: 60_000 }],
    ["a window of nought", { "ratelimit-limit": "5;w=0" }, { limit: 5 }],
    ["words", { "ratelimit-limit": "many;w=60" }, {}],
    ["a fraction", { "ratelimit-limit": "1.5;w=60" }, {}],
    ["a sign", { "ratelimit-remaining": "-3;w=60" }, {}],
    ["a number beyond all limits", { "ratelimit-limit": "9999999999999;w=60" }, {}],
    ["the IETF's syntax, which is another", { "ratelimit-limit": '"default";q=100;w=60' }, {}],
    ["an empty source", { "docker-ratelimit-source": " " }, {}],
    ["an endless source", { "docker-ratelimit-source": "x".repeat(5000) }, { source: "x".repeat(100) }],
    ["none", {}, {}],
  ])("are read leniently: %s", (_, headers, expected) => {
    expect(readRateLimit(headers)).toEqual({ ...nothing, ...expected });
  });

  test("never throw and never take long, whatever they are", () => {
    const value = fc.oneof(
      fc.string({ maxLength: 400 }),
      fc.array(fc.string()),
      fc.constantFrom("1;".repeat(10_000), ";w=".repeat(10_000), "9".repeat(100_000), "1h".repeat(50_000)),
    );
    fc.assert(
      fc.property(value, value, (one, other) => {
        const headers = {
          "ratelimit-limit": one,
          "ratelimit-remaining": other,
          "docker-ratelimit-source": one,
          "retry-after": other,
        };
        const { limit, remaining } = readRateLimit(headers);
        for (const count of [limit, remaining, readRetryAfter(headers, 0)]) {
          if (count !== undefined && !(count >= 0 && Number.isFinite(count))) return false;
        }
        return true;
      }),
    );
  });
});

describe("Retry-After", () => {
  const now = Date.UTC(2026, 10, 22, 12, 0, 0);

  test.each([
    ["60", 60_000],
    [" 3 ", 3000],
    ["0", 0],
    ["1.5", 1500],
    ["880.092µs, allowed: 44000/minute", 0.880092],
    ["retry-after: 880.092µs, allowed: 44000/minute", 0.880092],
    ["250ms", 250],
    ["1m30s", 90_000],
    ["2h", 7_200_000],
    ["Sun, 22 Nov 2026 12:00:30 GMT", 30_000],
    ["Sun, 22 Nov 2026 11:00:00 GMT", 0],
    ["soon", undefined],
    ["-5", undefined],
    ["5 apples", undefined],
    ["2026-11-22", undefined],
    ["", undefined],
    [undefined, undefined],
  ])("%s", (text, ms) => {
    const found = readRetryAfter({ "retry-after": text }, now);
    expect(found && Math.round(found * 1e6) / 1e6).toBe(ms);
  });

  test("a date counts from the answer's own, so that a wrong clock of ours does not matter", () => {
    const headers = {
      date: "Sun, 22 Nov 2026 15:00:00 GMT",
      "retry-after": "Sun, 22 Nov 2026 15:00:20 GMT",
    };
    expect(readRetryAfter(headers, now)).toBe(20_000);
  });
});

describe("a token's claims", () => {
  test("name the limit and its interval, as strings", () => {
    const claims = grant({ pull_limit: "200", pull_limit_interval: "21600" });
    expect(readTokenLimit(token(claims))).toEqual({ limit: 200, windowMs: 21_600_000 });
  });

  test.each([
    ["no grant", token({ access: [] })],
    ["no parameters", token(grant({}))],
    ["no interval", token(grant({ pull_limit: "200" }))],
    ["nonsense", token(grant({ pull_limit: "many", pull_limit_interval: "21600" }))],
    ["nought", token(grant({ pull_limit: "0", pull_limit_interval: "21600" }))],
    ["other shapes", token({ access: "all" })],
    ["null", token(null)],
    ["no JSON", "e30.bm90IGpzb24.x"],
    ["no token at all", "opaque"],
    ["an endless token", "e30.".repeat(100_000)],
  ])("are not found: %s", (_, text) => {
    expect(readTokenLimit(text)).toBeUndefined();
  });
});

describe("RateLimit", () => {
  test("is written as the IETF's draft has it", () => {
    const quota = { upstream: "docker.io", limit: 200, windowSeconds: 21_600, remaining: 137 };
    expect(formatRateLimit({ ...quota, resetSeconds: 1199.2 })).toEqual({
      "RateLimit-Policy": '"docker.io";q=200;w=21600',
      RateLimit: '"docker.io";r=137;t=1200',
    });
    expect(formatRateLimit({ ...quota, remaining: -3 }).RateLimit).toBe('"docker.io";r=0');
    const odd = formatRateLimit({ ...quota, windowSeconds: 1.5 });
    expect(odd["RateLimit-Policy"]).toBe('"docker.io";q=200;w=2');
  });

  test("cannot be broken out of by a name", () => {
    const { RateLimit } = formatRateLimit({
      upstream: 'a"\r\n;b:5000',
      limit: 1,
      windowSeconds: 1,
      remaining: 1,
    });
    expect(RateLimit).toBe('"ab:5000";r=1');
  });
});
