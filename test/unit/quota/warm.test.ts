/** What warming leaves to others: the head of the queue, and a part of the quota. */
import { systemClock } from "../../../src/async/clock.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openBucket, type QuotaBucket } from "../../../src/quota/bucket.ts";
import { QuotaError, type QuotaRequest, type Permit, type RequestKind } from "../../../src/quota/quota.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";
import { requestOf } from "./world.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] }));
afterEach(() => void vi.useRealTimers());

const good = { status: 200, headers: {} };

/** 10 pulls a minute, of which warming leaves 3, and one request at a time. */
function bucket(): Promise<QuotaBucket> {
  return openBucket({
    upstream: "docker.io",
    quota: { limit: 10, windowMs: 60_000 },
    reserve: 0.1,
    low: 0.3,
    maxWaitMs: 15_000,
    concurrency: 1,
    ledger: new FakeLedger(),
    clock: systemClock,
  });
}

async function soon(): Promise<void> {
  await vi.advanceTimersByTimeAsync(50);
}

async function taken(from: QuotaBucket, asked: QuotaRequest): Promise<Permit> {
  const permit = from.take(asked);
  await soon();
  return permit;
}

function overtakable(kind: RequestKind, promoted: AbortSignal): QuotaRequest {
  const { purpose, ...rest } = requestOf(kind, "warm");
  return { ...rest, purpose: { ...purpose, promoted } };
}

test("an promoted request leaves the queue with the reason and costs nothing", async () => {
  const docker = await bucket();
  const first = await taken(docker, requestOf("blob"));
  const overtaking = new AbortController();
  const left = docker.take(overtakable("manifest-get", overtaking.signal)).catch((error: unknown) => error);
  await soon();
  expect(docker.snapshot()).toMatchObject({ waiting: 1, remaining: 9 });
  const reason = new Error("a client waits");
  overtaking.abort(reason);
  expect(await left).toBe(reason);
  first.answered(good);
  await soon();
  expect(docker.snapshot()).toMatchObject({ waiting: 0, remaining: 10, inFlight: 0 });
});

test("a token for an promoted request is fetched all the same: others wait for it too", async () => {
  const docker = await bucket();
  const permit = await taken(docker, overtakable("token", AbortSignal.abort(new Error("a client waits"))));
  permit.answered(good);
});

test("a token is as urgent as a pull, whatever request began it", async () => {
  const docker = await bucket();
  const first = await taken(docker, requestOf("blob"));
  const order: string[] = [];
  for (const asked of [requestOf("blob", "revalidate"), requestOf("token", "warm")]) {
    const passed = docker.take(asked).then((permit) => permit.answered(good));
    void passed.then(() => order.push(asked.kind));
  }
  await soon();
  first.answered(good);
  await soon();
  expect(order).toEqual(["token", "blob"]);
});

test("warming that waits when the upstream says that little is left is not sent", async () => {
  const docker = await bucket();
  const head = await taken(docker, requestOf("manifest-head"));
  const refused = docker.take(requestOf("manifest-get", "warm")).catch((error: unknown) => error);
  await soon();
  head.answered({
    status: 200,
    headers: { "ratelimit-limit": "10;w=60", "ratelimit-remaining": "3;w=60" },
  });
  await soon();
  expect(await refused).toBeInstanceOf(QuotaError);
  expect(docker.snapshot()).toMatchObject({ remaining: 3, state: "low" });
});
