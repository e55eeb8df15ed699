/** What upstreams say of quota and of when to ask again: headers, error bodies and tokens. */
import { readRateLimit, readRetryAfter, readTokenLimit } from "../../../src/quota/limits.ts";
import { findRetryAfter, retryAfterIn } from "../../../src/upstream/gate.ts";
import { must, parts, type FuzzTarget } from "../fuzzTarget.ts";

const now = Date.UTC(2026, 10, 22);

function token(claims: object): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;
}

export const rate: FuzzTarget = {
  seeds: [
    "100;w=21600\n76;w=21600\n192.0.2.1\n60",
    "200\n0\n\nSun, 22 Nov 2026 00:01:00 GMT",
    "100;w=21600,5;w=1\n1 ; w = 3\n\n880.092µs, allowed: 44000/minute",
    `\n\n\n1h2m3s\nretry-after: 12s\n${token({ access: [{ parameters: { pull_limit: "200", pull_limit_interval: "21600" } }] })}`,
  ],
  run(data) {
    const [limit, remaining, source, retryAfter, body = "", text = ""] = parts(data, 6);
    const headers = {
      "ratelimit-limit": limit,
      "ratelimit-remaining": remaining,
      "docker-ratelimit-source": source,
      "retry-after": retryAfter,
      date: source,
    };
    const said = readRateLimit(headers);
    const answer = readTokenLimit(text);
    const waits = [readRetryAfter(headers, now), retryAfterIn(headers, now), findRetryAfter(body, now)];
    for (const number of [
      said.limit,
      said.remaining,
      said.windowMs,
      answer?.limit,
      answer?.windowMs,
      ...waits,
    ]) {
      must(number === undefined || (Number.isFinite(number) && number >= 0), "what is known is a number");
    }
    must((said.source ?? "").length <= 100, "a source is short");
  },
};
