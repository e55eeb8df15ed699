/** The status API over real buckets, a ledger in memory, and a clock that a test moves. */
import { systemClock } from "../../../src/async/clock.ts";
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { AdminToken } from "../../../src/http/api/authorization.ts";
import { statusApi, type StatusApiOptions } from "../../../src/http/api/api.ts";
import { Warmer } from "../../../src/mirror/warm.ts";
import { openBucket, type QuotaBucket } from "../../../src/quota/bucket.ts";
import { parsePattern } from "../../../src/oci/pattern.ts";
import { Pins } from "../../../src/store/evict/pins.ts";
import type { Log } from "../../../src/telemetry/log.ts";
import { ManualClock } from "../../support/manualClock.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";

/** When the clock begins. */
export const start = Date.parse("2026-03-04T05:06:07Z");

export interface ApiSetup {
  readonly api: OpenAPIHono;
  readonly buckets: ReadonlyMap<string, QuotaBucket>;
  readonly ledger: FakeLedger;
  readonly log: Log;
  readonly clock: ManualClock;
  /** Log lines: level, fields and message. */
  readonly lines: (readonly [string, unknown, unknown])[];
  /** What a path answers, read as JSON. */
  readonly get: (path: string, init?: RequestInit) => Promise<{ status: number; body: unknown }>;
  /** What `POST /rehearse` answers. */
  readonly rehearse: (
    body: unknown,
    headers?: Record<string, string>,
  ) => Promise<{ status: number; body: unknown }>;
}

/**
 * Opens it with upstreams docker.io, of which 10 pulls in 6 h are allowed, and ghcr.io, which has no limit. Nothing is held
 * but what `kept` says, and docker.io/library/redis is pinned by the configuration.
 */
export async function openApiSetup(
  adminToken?: AdminToken,
  kept: Partial<StatusApiOptions["eviction"]> = {},
): Promise<ApiSetup> {
  const clock = new ManualClock(start);
  const now = (): number => clock.now();
  // A bucket that waits does so in real time.
  const timed = { ...systemClock, now, elapsed: () => clock.elapsed() };
  const ledger = new FakeLedger();
  const common = { reserve: 0.1, low: 0.3, maxWaitMs: 100, concurrency: 16, ledger, clock: timed };
  const quota = { limit: 10, windowMs: 6 * 60 * 60 * 1000 };
  const buckets = new Map([
    ["docker.io", await openBucket({ ...common, upstream: "docker.io", quota })],
    ["ghcr.io", await openBucket({ ...common, upstream: "ghcr.io" })],
  ]);
  const lines: [string, unknown, unknown][] = [];
  const record =
    (level: string) =>
    (fields: unknown, message?: unknown): void =>
      void lines.push([level, fields, message]);
  const log = Object.fromEntries(
    ["debug", "info", "warn", "error", "fatal"].map((level) => [level, record(level)]),
  ) as unknown as Log;
  const routing = { upstreams: new Set(buckets.keys()), defaultUpstream: "docker.io" };
  const api = statusApi({
    policyEvents: { on: () => () => {} },
    buckets,
    ledger,
    mirror: { explain: breakDown, mayKnow: () => Promise.resolve(true), stored: () => Promise.resolve() },
    routing,
    eviction: { ...emptyEviction(now), ...kept },
    hitRatio: () => Promise.resolve(undefined),
    warmer: warmerWith(now),
    warmPlatforms: [{ os: "linux", architecture: "amd64" }],
    adminToken,
    log,
    clock,
  });
  return {
    api,
    buckets,
    ledger,
    log,
    clock,
    lines,
    get: async (path, init) => read(await api.request(path, init)),
    rehearse: async (body, headers = {}) =>
      read(
        await api.request("/rehearse", {
          method: "POST",
          headers: { "Content-Type": "application/json", ...headers },
          body: typeof body === "string" ? body : JSON.stringify(body),
        }),
      ),
  };
}

/** A warmer whose images never come to an end. */
function warmerWith(now: () => number): Warmer {
  return new Warmer({
    images: { warm: () => new Promise(() => {}) },
    stateOf: () => "ok",
    table: { all: async () => [], keep: async () => {}, remove: async () => {} },
    concurrency: 2,
    ended: () => {},
    over: () => {},
    trouble: () => {},
    draining: new AbortController().signal,
    now,
    pause: () => Promise.resolve(),
  });
}

function emptyEviction(now: () => number): StatusApiOptions["eviction"] {
  const configured = parsePattern("docker.io/library/redis");
  const table = {
    all: async () => [],
    add: async () => {},
    remove: async () => {},
    owned: async () => [],
    replace: async () => {},
  };
  return {
    capacity: 1000,
    pins: new Pins(table, configured ? [configured] : [], now),
    totals: () => Promise.resolve({ bytes: 0, blobs: 0, manifests: 0 }),
    oldestUse: () => Promise.resolve(undefined),
    async *images() {},
    evict: () => Promise.resolve(),
    remove: () => Promise.resolve(),
  };
}

function breakDown(): never {
  throw new Error("the catalog is broken");
}

async function read(response: Response): Promise<{ status: number; body: unknown }> {
  return { status: response.status, body: await response.json() };
}
