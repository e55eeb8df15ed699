/** Requests without the account cost it nothing, but come from the same address. */
import { systemClock } from "../../../src/async/clock.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openBucket, type QuotaBucket, openFreeBucket } from "../../../src/quota/bucket.ts";
import type { QuotaAnswer } from "../../../src/quota/quota.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";
import { requestFrom, requestOf } from "./world.ts";

const head = requestOf("manifest-head");
const good = { status: 200, headers: {} };
const abused = { status: 429, headers: { "retry-after": "90" }, abuse: true };

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] }));
afterEach(() => void vi.useRealTimers());

async function open(upstream = "docker.io", ledger = new FakeLedger()) {
  const common = { upstream, account: "cluster", reserve: 0.1, low: 0.3, maxWaitMs: 15_000, concurrency: 16 };
  const account = await openBucket({ ...common, ledger, clock: systemClock });
  return {
    account,
    free: await openFreeBucket(upstream, account, systemClock),
    other: await openFreeBucket(upstream, account, systemClock),
    ledger,
  };
}

async function ask(bucket: QuotaBucket, answer: QuotaAnswer = good): Promise<void> {
  (await bucket.take(head)).answered(answer);
}

test.each(["account", "free", "other"] as const)(
  "the abuse limit, met by the %s, pauses all of them",
  async (who) => {
    const buckets = await open();
    await ask(buckets[who], abused);
    for (const bucket of [buckets.account, buckets.free, buckets.other]) {
      await expect(bucket.take(head)).rejects.toMatchObject({ kind: "paused", retryAfter: 90 });
    }
    await vi.advanceTimersByTimeAsync(90_000);
    for (const bucket of [buckets.account, buckets.free, buckets.other]) await ask(bucket);
  },
);

test("the abuse limit pauses all of them over a restart", async () => {
  const { free, account, ledger } = await open();
  await ask(free, abused);
  await account.close();
  const again = await open("docker.io", ledger);
  await expect(again.other.take(head)).rejects.toMatchObject({ kind: "paused" });
});

test("any other 429 is an account's own", async () => {
  const { account, free, other } = await open();
  const ping = await other.take(requestOf("ping"));
  ping.answered({ status: 429, headers: { "retry-after": "3600" } });
  await expect(other.take(head)).rejects.toMatchObject({ kind: "paused" });
  await ask(account);
  await ask(free);
});

test("all of them together send no more requests than the upstream is sent", async () => {
  const { account, free } = await open("quay.io");
  for (let request = 0; request < 30; request += 1) await ask(free);
  let isLet = false;
  const late = (async () => {
    await ask(account);
    isLet = true;
  })();
  await vi.advanceTimersByTimeAsync(4000);
  expect(isLet).toBe(false);
  await vi.advanceTimersByTimeAsync(2000);
  await late;
  expect(isLet).toBe(true);
});

test("guesses without the account are the same address's as with it", async () => {
  const { account, free } = await open();
  const guess = requestFrom("10.0.0.1", "manifest-head");
  for (let request = 0; request < 500; request += 1)
    (await free.take(guess)).answered({ status: 404, headers: {} });
  const late = account.take(guess).catch((error: unknown) => error);
  (await account.take(requestFrom("10.0.0.2", "manifest-head"))).answered(good);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(await late).toMatchObject({ kind: "busy" });
});
