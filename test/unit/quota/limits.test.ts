import { describe, expect, test } from "vitest";
import type { SavedBucket } from "../../../src/quota/ledger.ts";
import { LearntLimits, type LearntLimitsOptions, knownLimits } from "../../../src/quota/limits.ts";
const hour = 60 * 60 * 1000;
const preset = { limit: 200, windowMs: 6 * hour };
const named = { "ratelimit-limit": "100;w=3600", "ratelimit-remaining": "20;w=3600" };
const unnamed = { "docker-ratelimit-source": "186e63fa-abf0-4deb-a711-0dbd34c4a821" };

function token(limit: string): string {
  const parameters = { pull_limit: limit, pull_limit_interval: "21600" };
  const claims = JSON.stringify({ access: [{ parameters }] });
  return `e30.${Buffer.from(claims).toString("base64url")}.x`;
}

function limits(options: Partial<LearntLimitsOptions> = {}, saved?: Partial<SavedBucket>): LearntLimits {
  const blank: SavedBucket = {
    time: 0,
    at: 0,
    limit: 50,
    windowMs: hour,
    learntFrom: "headers",
    remaining: undefined,
    since: 0,
    observedAt: undefined,
    source: undefined,
    pausedUntil: undefined,
    emptyUntil: undefined,
    setAsides: [],
    savedPulls: 0,
    savedBytes: 0,
  };
  return new LearntLimits(
    { configured: undefined, preset, hasAccount: true, ...options },
    saved && { ...blank, ...saved },
    0,
  );
}

describe("until the upstream says something", () => {
  test("the configured limit holds, else the known one, else nothing is limited", () => {
    const configured = { limit: 5000, windowMs: 24 * hour };
    expect(limits({ configured })).toMatchObject({ allowance: configured, from: "config" });
    expect(limits()).toMatchObject({ allowance: preset, from: "none" });
    expect(limits({ preset: undefined }).allowance.limit).toBeUndefined();
  });

  test("known upstreams bring their limits", () => {
    expect(knownLimits("docker.io", false).quota).toEqual({ limit: 100, windowMs: 6 * hour });
    expect(knownLimits("docker.io", true).quota).toEqual({ limit: 200, windowMs: 6 * hour });
    expect(knownLimits("public.ecr.aws", false).minIntervalMs).toBe(1000);
    expect(knownLimits("public.ecr.aws", true).minIntervalMs).toBe(100);
    expect(knownLimits("ghcr.io", true).quota).toBeUndefined();
    expect(knownLimits("docker.io", true).guard).toEqual({ limit: 1000, windowMs: 60_000 });
    expect(knownLimits("ghcr.io", true).guard).toEqual({ limit: 10_000, windowMs: 60_000 });
    expect(knownLimits("quay.io", true).guard).toEqual({ limit: 30, windowMs: 5000 });
  });
});

describe("what the upstream says", () => {
  test("replaces what was assumed", () => {
    const learnt = limits({ configured: { limit: 7, windowMs: hour } });
    expect(learnt.readAnswer({ ...named, ...unnamed }, true, 0)).toBe(20);
    expect(learnt).toMatchObject({ allowance: { limit: 100, windowMs: hour }, from: "headers" });
    expect(learnt.source).toBe("186e63fa-abf0-4deb-a711-0dbd34c4a821");
  });

  test("without a window is some other limit's, such as GitLab's of requests per minute", () => {
    const learnt = limits();
    expect(
      learnt.readAnswer({ "ratelimit-limit": "2000", "ratelimit-remaining": "1999" }, true, 0),
    ).toBeUndefined();
    expect(learnt).toMatchObject({ allowance: preset, from: "none" });
  });

  test("in a token holds until an answer says something", () => {
    const learnt = limits();
    learnt.readToken(token("300"), 0);
    expect(learnt).toMatchObject({ allowance: { limit: 300, windowMs: 6 * hour }, from: "token" });
    learnt.readAnswer(named, true, 0);
    learnt.readToken(token("300"), 0);
    expect(learnt).toMatchObject({ allowance: { limit: 100 }, from: "headers" });
    learnt.readToken("opaque", 0);
    expect(learnt.from).toBe("headers");
  });

  test("is known after a restart", () => {
    expect(limits({}, { source: "192.0.2.1" })).toMatchObject({
      allowance: { limit: 50, windowMs: hour },
      from: "headers",
      source: "192.0.2.1",
    });
    expect(limits({}, { learntFrom: "none" }).allowance).toEqual(preset);
    expect(limits({ configured: { limit: 7, windowMs: hour } }, { learntFrom: "config" }).from).toBe(
      "config",
    );
  });
});

describe("a good answer that names an account but no limit", () => {
  test("is a paid account's: unlimited, and limited again when it says so", () => {
    const learnt = limits();
    learnt.readAnswer(unnamed, true, 0);
    expect(learnt).toMatchObject({ allowance: { limit: undefined }, from: "headers" });
    learnt.readAnswer(named, true, 0);
    expect(learnt.allowance.limit).toBe(100);
  });

  test("says nothing where a limit was named: it may be one image that does not count", () => {
    const learnt = limits();
    learnt.readAnswer(named, true, 0);
    learnt.readAnswer(unnamed, true, hour);
    expect(learnt.allowance.limit).toBe(100);
    // But not for ever: the account may have been upgraded.
    learnt.readAnswer(unnamed, true, hour + 1);
    expect(learnt.allowance.limit).toBeUndefined();
  });

  test("never overrules the configuration", () => {
    const configured = { limit: 7, windowMs: hour };
    const learnt = limits({ configured });
    learnt.readAnswer(unnamed, true, 100 * hour);
    expect(learnt).toMatchObject({ allowance: configured, from: "config" });
    learnt.readAnswer(named, true, 100 * hour);
    learnt.readAnswer(unnamed, true, 200 * hour);
    expect(learnt).toMatchObject({ allowance: configured, from: "config" });
  });

  test("says nothing of anonymous use, nor when it is an error, nor when it names no source", () => {
    const anonymous = limits({ hasAccount: false });
    anonymous.readAnswer(unnamed, true, 0);
    expect(anonymous.allowance).toEqual(preset);
    const learnt = limits();
    learnt.readAnswer(unnamed, false, 0);
    learnt.readAnswer({}, true, 0);
    expect(learnt.allowance).toEqual(preset);
  });
});
