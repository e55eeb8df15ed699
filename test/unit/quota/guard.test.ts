/** The requests of any kind that an upstream is sent in a minute, and those under way: how addresses share them. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { Parties } from "../../../src/async/concurrency.ts";
import { openBucket, type QuotaBucket } from "../../../src/quota/bucket.ts";
import type { Permit, QuotaRequest, RequestKind } from "../../../src/quota/quota.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";
import { requestFrom, requestOf } from "./world.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] }));
afterEach(() => void vi.useRealTimers());

/** Docker Hub's: a thousand requests in a minute. */
function open(): Promise<QuotaBucket> {
  return openBucket({
    upstream: "docker.io",
    reserve: 0.1,
    low: 0.3,
    maxWaitMs: 15_000,
    concurrency: 16,
    ledger: new FakeLedger(),
    clock: systemClock,
  });
}

function take(bucket: QuotaBucket, request: QuotaRequest, signal?: AbortSignal) {
  const outcome: { permit?: Permit; error?: unknown } = {};
  bucket.take(request, signal).then(
    (permit) => (outcome.permit = permit),
    (error: unknown) => (outcome.error = error),
  );
  return outcome;
}

/** Runs everything that is due now. */
async function soon(): Promise<void> {
  await vi.advanceTimersByTimeAsync(50);
}

/** Sends one, if it may be sent now, and says whether it was. */
async function send(bucket: QuotaBucket, address: string, kind: RequestKind, status = 200): Promise<boolean> {
  const leaving = new AbortController();
  const outcome = take(bucket, requestFrom(address, kind), leaving.signal);
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  outcome.permit?.answered({ status, headers: {} });
  leaving.abort();
  return outcome.permit !== undefined;
}

async function sendMany(
  bucket: QuotaBucket,
  count: number,
  ...request: [string, RequestKind, number?]
): Promise<number> {
  let sent = 0;
  for (let number = 0; number < count; number += 1) sent += (await send(bucket, ...request)) ? 1 : 0;
  return sent;
}

test("the last quarter is for addresses that have sent few", async () => {
  const docker = await open();
  expect(await sendMany(docker, 1200, "10.0.0.1", "manifest-head")).toBe(750);
  expect(await sendMany(docker, 200, "10.0.0.2", "manifest-head")).toBe(125);
  expect(await sendMany(docker, 200, "10.0.0.3", "manifest-head")).toBe(125);
  expect(await sendMany(docker, 1, "10.0.0.4", "manifest-head")).toBe(0);
  await vi.advanceTimersByTimeAsync(61_000);
  expect(await sendMany(docker, 1, "10.0.0.1", "manifest-head")).toBe(1);
});

test("the last half is for addresses that have asked for little in vain, and Hubcap's own may take all", async () => {
  const docker = await open();
  let guessed = 0;
  for (let guesser = 0; guesser < 100; guesser += 1)
    guessed += await sendMany(docker, 20, `10.0.1.${guesser}`, "manifest-head", 404);
  // The first 25 had all of theirs, and the others what none is held to account for.
  expect(guessed).toBe(500 + 75 * 5);
  expect(await send(docker, "10.0.1.99", "manifest-head")).toBe(false);
  expect(await sendMany(docker, 4, "10.0.0.2", "manifest-head", 404)).toBe(4);
  expect(await sendMany(docker, 60, "10.0.0.2", "blob")).toBe(60);
  const own = Array.from({ length: 16 }, () => take(docker, requestOf("manifest-head")));
  await soon();
  expect(own.filter(({ permit }) => permit)).toHaveLength(16);
});

test("a token is taken for one in vain until something is found with it", async () => {
  const docker = await open();
  expect(await sendMany(docker, 500, "10.0.1.1", "manifest-head", 404)).toBe(500);
  expect(await sendMany(docker, 10, "10.0.1.2", "token")).toBe(5);
  // What it has tokens for goes on, and with it what else it wants.
  expect(await sendMany(docker, 5, "10.0.1.2", "manifest-head")).toBe(5);
  expect(await sendMany(docker, 10, "10.0.1.2", "token")).toBe(5);
  expect(await sendMany(docker, 10, "10.0.1.2", "manifest-head", 404)).toBe(5);
  expect(await sendMany(docker, 1, "10.0.1.2", "token")).toBe(0);
  // Neither answer nor token is in vain as well.
  expect(await sendMany(docker, 10, "10.0.1.3", "token", 401)).toBe(5);
  (await docker.take(requestFrom("10.0.1.4", "token"))).failed();
  expect(await sendMany(docker, 10, "10.0.1.4", "token")).toBe(4);
});

test("who waits for what is kept for others goes on when it is free", async () => {
  const docker = await open();
  await sendMany(docker, 500, "10.0.0.1", "manifest-head", 404);
  const waiting = take(docker, requestFrom("10.0.0.1", "manifest-head"));
  await soon();
  expect(waiting).toEqual({});
  await vi.advanceTimersByTimeAsync(14_000);
  expect(waiting).toEqual({});
  await vi.advanceTimersByTimeAsync(2000);
  expect(waiting.error).toMatchObject({ kind: "busy" });
  await vi.advanceTimersByTimeAsync(40_000);
  const late = take(docker, requestFrom("10.0.0.1", "manifest-head"));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(late.permit).toBeDefined();
});

test("no address has more than two thirds under way while others may come", async () => {
  const docker = await open();
  const stuck = Array.from({ length: 64 }, () => take(docker, requestFrom("10.0.0.1", "manifest-head")));
  await soon();
  expect(stuck.filter(({ permit }) => permit)).toHaveLength(11);
  for (const address of ["10.0.0.2", "10.0.0.3"])
    for (const kind of ["token", "manifest-head"] as const) await docker.take(requestFrom(address, kind));
  await docker.take(requestOf("manifest-head"));
});

test.each([
  ["wants the same, pays for it too", false, 0],
  ["only has to wait for it, pays nothing", true, 10],
])("a guess goes because of another client, who %s", async (_, isBehind, left) => {
  const docker = await open();
  await sendMany(docker, 500, "10.0.0.1", "manifest-head", 404);
  const { purpose, ...request } = requestFrom("10.0.0.1", "manifest-head");
  for (let guess = 0; guess < 5; guess += 1) {
    const joined = new Parties();
    const guessed = take(docker, { ...request, purpose: { ...purpose, joined } });
    await Promise.resolve();
    joined.add({ address: "10.0.0.2", payer: "node-2", isBehind });
    await soon();
    guessed.permit?.answered({ status: 404, headers: {} });
    expect(guessed.permit).toBeDefined();
  }
  expect(await sendMany(docker, 10, "10.0.0.2", "blob")).toBe(left);
});
