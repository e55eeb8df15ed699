import { systemClock } from "../../../src/async/clock.ts";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openBucket, type BucketOptions, type QuotaBucket } from "../../../src/quota/bucket.ts";
import type { QuotaEvent } from "../../../src/quota/events.ts";
import type { LedgerEntry } from "../../../src/quota/ledger.ts";
import { QuotaError, type Permit, type Reason } from "../../../src/quota/quota.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";
import { requestOf } from "./world.ts";

const pull = requestOf("manifest-get");
const head = requestOf("manifest-head");
const blob = requestOf("blob");
const good = { status: 200, headers: {} };

// Time moves only when a test moves it: nothing here depends on the speed of the machine.
beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date", "performance"] }));
afterEach(() => void vi.useRealTimers());

async function bucket(more: Partial<BucketOptions> = {}): Promise<QuotaBucket & { ledger: FakeLedger }> {
  const ledger = more.ledger instanceof FakeLedger ? more.ledger : new FakeLedger();
  const opened = await openBucket({
    upstream: "docker.io",
    ...(more.upstream ? {} : { quota: { limit: 100, windowMs: 60_000 } }),
    reserve: 0.1,
    low: 0.3,
    maxWaitMs: 15_000,
    concurrency: 16,
    clock: systemClock,
    ...more,
    ledger,
  });
  return Object.assign(opened, { ledger });
}

/** Runs everything that is due now. */
async function soon(): Promise<void> {
  await vi.advanceTimersByTimeAsync(50);
}

interface Outcome {
  permit?: Permit;
  error?: unknown;
  at?: number;
}

/** Takes, and gives the outcome as soon as it is known. */
function take(from: QuotaBucket, ...args: Parameters<QuotaBucket["take"]>): Outcome {
  const outcome: Outcome = {};
  const over = (how: Outcome): void => void Object.assign(outcome, how, { at: Date.now() });
  from.take(...args).then(
    (permit) => over({ permit }),
    (error: unknown) => over({ error }),
  );
  return outcome;
}

/** Takes what is there at once. */
async function taken(from: QuotaBucket, ...args: Parameters<QuotaBucket["take"]>): Promise<Permit> {
  const outcome = take(from, ...args);
  await soon();
  if (!outcome.permit) throw new Error("it did not go", { cause: outcome.error });
  return outcome.permit;
}

describe("a request that may be sent", () => {
  test("is sent at once, and its pull is in the ledger before", async () => {
    const docker = await bucket();
    const permit = await taken(docker, pull);
    expect(docker.ledger.entries).toMatchObject([{ outcome: "sent", cost: 1 }]);
    permit.answered(good);
    expect(docker.ledger.entries).toMatchObject([{ outcome: "counted", cost: 1 }]);
  });

  test("is not written down when it costs nothing", async () => {
    const docker = await bucket();
    for (const kind of ["manifest-head", "blob", "token", "ping", "tags", "referrers"] as const) {
      (await taken(docker, requestOf(kind))).answered(good);
    }
    expect(docker.ledger.entries).toEqual([]);
    expect(docker.snapshot()).toMatchObject({ spentInWindow: 0, inFlight: 0, waiting: 0 });
  });

  test("is settled once, whatever is reported afterwards", async () => {
    const docker = await bucket({ concurrency: 1 });
    const permit = await taken(docker, pull);
    permit.answered(good);
    permit.answered({ status: 429, headers: {} });
    permit.failed();
    expect(docker.snapshot()).toMatchObject({ spentInWindow: 1, state: "ok" });
    expect(docker.ledger.entries).toMatchObject([{ outcome: "counted" }]);
    await taken(docker, blob);
  });

  test("is an event, with how long it waited", async () => {
    const docker = await bucket({ concurrency: 1 });
    const events: QuotaEvent[] = [];
    const stop = docker.on((event) => void events.push(event));
    const first = await taken(docker, pull);
    const second = take(docker, requestOf("blob", "warm"));
    await vi.advanceTimersByTimeAsync(2000);
    first.answered(good);
    await soon();
    expect(second.permit).toBeDefined();
    const granted = events.filter((event) => event.type === "granted");
    expect(granted).toMatchObject([
      { upstream: "docker.io", reason: "pull", cost: 1 },
      { upstream: "docker.io", reason: "warm", cost: 0 },
    ]);
    expect(granted[1]?.waitedMs).toBeGreaterThanOrEqual(2000);
    stop();
    await taken(await bucket(), pull);
    second.permit?.failed();
    expect(events.filter(({ type }) => type === "granted")).toHaveLength(2);
  });
});

describe("the queue", () => {
  test("allows as many at once as are configured", async () => {
    const docker = await bucket({ concurrency: 3 });
    const all = [pull, head, blob, blob, blob].map((asked) => take(docker, asked));
    await soon();
    expect(all.filter(({ permit }) => permit)).toHaveLength(3);
    expect(docker.snapshot()).toMatchObject({ inFlight: 3, waiting: 2 });
    all.find(({ permit }) => permit)?.permit?.failed();
    await soon();
    expect(all.filter(({ permit }) => permit)).toHaveLength(4);
  });

  test("lets pulls pass revalidations, and these pass warming", async () => {
    const docker = await bucket({ concurrency: 1 });
    const first = await taken(docker, blob);
    const order: Reason[] = [];
    for (const reason of ["warm", "revalidate", "pull", "warm", "revalidate", "pull"] as const) {
      const passed = docker.take(requestOf("blob", reason)).then((permit) => permit.answered(good));
      void passed.then(() => order.push(reason));
    }
    await soon();
    first.answered(good);
    await soon();
    expect(order).toEqual(["pull", "pull", "revalidate", "revalidate", "warm", "warm"]);
  });

  test("ends with an error after the longest wait, and a request that leaves it leaves nothing behind", async () => {
    const docker = await bucket({ concurrency: 1 });
    const first = await taken(docker, blob);
    const late = take(docker, pull);
    await vi.advanceTimersByTimeAsync(14_999);
    expect(late.error).toBeUndefined();
    await vi.advanceTimersByTimeAsync(2);
    expect(late.error).toBeInstanceOf(QuotaError);
    expect(late.error).toMatchObject({ kind: "busy", retryAfter: 15 });
    expect(String(late.error)).toMatch(
      /too many requests to docker\.io are waiting: .* within 15 s; try again/,
    );
    expect(docker.ledger.entries).toEqual([]);
    first.answered(good);
    (await taken(docker, blob)).answered(good);
    await taken(docker, blob);
    expect(docker.snapshot()).toMatchObject({ spentInWindow: 0, inFlight: 1, waiting: 0 });
  });

  test("is left at once by an aborted request, without a trace", async () => {
    const docker = await bucket({ concurrency: 1 });
    const first = await taken(docker, blob);
    const leaving = new AbortController();
    const gone = [take(docker, pull, leaving.signal), take(docker, blob, leaving.signal)];
    const staying = take(docker, blob);
    await soon();
    leaving.abort(new Error("client gone"));
    await soon();
    for (const { error } of gone) expect(error).toBe(leaving.signal.reason);
    expect(docker.snapshot()).toMatchObject({ waiting: 1, spentInWindow: 0 });
    first.answered(good);
    await soon();
    staying.permit?.answered(good);
    await taken(docker, blob);
    expect(docker.ledger.entries).toEqual([]);
    expect(await docker.ledger.spendBy({ by: "client", since: 0 })).toEqual([]);
  });

  test("is passed even when no wait is allowed", async () => {
    const docker = await bucket({ maxWaitMs: 0 });
    await taken(docker, pull);
  });

  test("is not joined by an aborted request", async () => {
    const docker = await bucket();
    await expect(docker.take(pull, AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
    expect(docker.snapshot().waiting).toBe(0);
  });

  test("gives back a pull that was written down when its client left at that moment", async () => {
    const leaving = new AbortController();
    class SlowLedger extends FakeLedger {
      override async spend(entry: LedgerEntry): Promise<number> {
        leaving.abort(new Error("client gone"));
        return super.spend(entry);
      }
    }
    const docker = await bucket({ ledger: new SlowLedger(), concurrency: 1 });
    const gone = take(docker, pull, leaving.signal);
    await soon();
    expect(gone.error).toBe(leaving.signal.reason);
    expect(docker.ledger.entries).toMatchObject([{ outcome: "released", cost: 0 }]);
    await taken(docker, blob);
  });

  test("does not stand still when the wall clock is set back", async () => {
    const docker = await bucket();
    (await taken(docker, pull)).answered(good);
    vi.setSystemTime(Date.now() - 60 * 60 * 1000);
    (await taken(docker, pull)).answered(good);
    expect(docker.snapshot().spentInWindow).toBe(2);
  });
});

describe("pulls that a limit counts", () => {
  test("are refused at once when none is left, and what costs nothing is not", async () => {
    const docker = await bucket({ quota: { limit: 1, windowMs: 60_000 } });
    (await taken(docker, pull)).answered(good);
    await vi.advanceTimersByTimeAsync(500);
    const refused = take(docker, pull);
    // Without any time going by.
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    expect(refused.error).toMatchObject({ kind: "exhausted", retryAfter: 60 });
    expect(await docker.ledger.spendBy({ by: "reason", since: 0 })).toMatchObject([{ spent: 1, refused: 1 }]);
    await taken(docker, head);
  });

  test("can be refused before anything is prepared for them, and count as refused once", async () => {
    const docker = await bucket({ quota: { limit: 1, windowMs: 60_000 } });
    expect(docker.refusal(pull)).toBeUndefined();
    const permit = await taken(docker, pull);
    expect(docker.refusal(pull)).toMatchObject({ kind: "exhausted" });
    expect(docker.refusal(head)).toBeUndefined();
    expect(await docker.ledger.spendBy({ by: "reason", since: 0 })).toMatchObject([{ spent: 1, refused: 1 }]);
    permit.answered(good);
  });

  test("are never more than the limit, however many come at once, and none is refused too early", async () => {
    const docker = await bucket({ quota: { limit: 30, windowMs: 600_000 }, concurrency: 20 });
    let counted = 0;
    const pulls = Array.from({ length: 60 }, async (_, index) => {
      const permit = await docker.take(requestOf("manifest-get", "pull", `node-${index % 20}`));
      await new Promise((resolve) => setTimeout(resolve, 20 + ((index * 7) % 40)));
      counted += 1;
      const remaining = `${30 - counted};w=600`;
      await new Promise((resolve) => setTimeout(resolve, (index * 13) % 50));
      permit.answered({
        status: 200,
        headers: { "ratelimit-limit": "30;w=600", "ratelimit-remaining": remaining },
      });
    });
    const settled = Promise.allSettled(pulls);
    await vi.advanceTimersByTimeAsync(20_000);
    const refusals = (await settled).filter(({ status }) => status === "rejected");
    expect(counted).toBe(30);
    expect(refusals).toHaveLength(30);
    const spent = await docker.ledger.spendBy({ by: "client", since: 0 });
    expect(spent.reduce((sum, row) => sum + row.spent, 0)).toBe(30);
    expect(spent.reduce((sum, row) => sum + row.refused, 0)).toBe(30);
  });

  test("wait for one that comes free within the longest wait", async () => {
    const docker = await bucket({ quota: { limit: 1, windowMs: 10_000 } });
    const start = Date.now();
    (await taken(docker, pull)).answered(good);
    const waiting = take(docker, pull);
    await vi.advanceTimersByTimeAsync(9000);
    expect(waiting).toEqual({});
    await vi.advanceTimersByTimeAsync(2000);
    expect(waiting.permit).toBeDefined();
    expect((waiting.at ?? 0) - start).toBeLessThan(10_200);
  });

  test("are given to the next request when an earlier one has left", async () => {
    const docker = await bucket({ quota: { limit: 1, windowMs: 10_000 } });
    (await taken(docker, pull)).answered(good);
    const leaving = new AbortController();
    take(docker, pull, leaving.signal);
    const staying = take(docker, pull);
    await soon();
    leaving.abort(new Error("client gone"));
    await vi.advanceTimersByTimeAsync(11_000);
    expect(staying.permit).toBeDefined();
  });

  test("are not sent when the upstream says meanwhile that nothing is left", async () => {
    const docker = await bucket({ concurrency: 1, maxWaitMs: 5000 });
    const first = await taken(docker, pull);
    const waiting = [take(docker, pull), take(docker, pull)];
    await soon();
    first.answered({
      status: 429,
      headers: { "ratelimit-limit": "100;w=60", "ratelimit-remaining": "0;w=60" },
    });
    await soon();
    for (const { error } of waiting) expect(error).toMatchObject({ kind: "exhausted" });
    await taken(docker, head);
    expect(docker.ledger.entries.map(({ outcome }) => outcome)).toEqual(["limited"]);
  });

  test("are refused while the ledger cannot be written, and their place in the queue is free again", async () => {
    const docker = await bucket({ concurrency: 1 });
    docker.ledger.failure = new Error("disk full");
    const refused = take(docker, pull);
    await soon();
    expect(refused.error).toMatchObject({ kind: "paused" });
    docker.ledger.failure = undefined;
    await taken(docker, pull);
    expect(docker.snapshot()).toMatchObject({ spentInWindow: 1, inFlight: 1 });
  });
});

describe("an upstream that limits rates", () => {
  test("gets its pulls spaced, and its other requests at once", async () => {
    const ecr = await bucket({ upstream: "public.ecr.aws" });
    const pulls = [take(ecr, pull), take(ecr, pull), take(ecr, pull)];
    const question = take(ecr, head);
    await soon();
    expect(question.permit).toBeDefined();
    await vi.advanceTimersByTimeAsync(3000);
    const times = pulls.map(({ at }) => at ?? 0);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(990);
    expect((times[2] ?? 0) - (times[1] ?? 0)).toBeGreaterThanOrEqual(990);
  });

  test("sends a pull before a revalidation that waits for its interval", async () => {
    const ecr = await bucket({ upstream: "public.ecr.aws" });
    const order: Reason[] = [];
    for (const reason of ["pull", "warm", "warm", "revalidate", "pull"] as const) {
      void ecr.take(requestOf("manifest-get", reason)).then(() => order.push(reason));
    }
    await vi.advanceTimersByTimeAsync(6000);
    expect(order).toEqual(["pull", "pull", "revalidate", "warm", "warm"]);
  });

  test("refuses at once what would wait for too long", async () => {
    const ecr = await bucket({ upstream: "public.ecr.aws", maxWaitMs: 3000 });
    const all = Array.from({ length: 10 }, () => take(ecr, pull));
    await soon();
    expect(all.filter(({ error }) => error)).toHaveLength(7);
    expect(all.at(-1)?.error).toMatchObject({ kind: "busy", retryAfter: 3 });
    await vi.advanceTimersByTimeAsync(3500);
    expect(all.filter(({ permit }) => permit)).toHaveLength(3);
  });

  test("gets no more requests than its guard allows, HEADs and blobs included", async () => {
    const quay = await bucket({ upstream: "quay.io" });
    const all = Array.from({ length: 40 }, (_, index) => take(quay, index % 2 === 0 ? head : blob));
    const finish = (): void => {
      for (const { permit } of all) permit?.answered(good);
    };
    for (let step = 0; step < 20; step += 1) {
      await soon();
      finish();
    }
    expect(all.filter(({ permit }) => permit)).toHaveLength(30);
    await vi.advanceTimersByTimeAsync(5500);
    finish();
    await soon();
    expect(all.filter(({ permit }) => permit)).toHaveLength(40);
  });

  test("that asks for a pause gets it at once, also from waiting requests", async () => {
    const docker = await bucket({ concurrency: 1 });
    const first = await taken(docker, blob);
    const waiting = [take(docker, blob), take(docker, pull)];
    await soon();
    first.answered({ status: 429, headers: { "retry-after": "60" }, abuse: true });
    await soon();
    for (const { error } of waiting) expect(error).toMatchObject({ kind: "paused", retryAfter: 60 });
    expect(docker.snapshot()).toMatchObject({ spentInWindow: 0, inFlight: 0 });
    await vi.advanceTimersByTimeAsync(60_000);
    await taken(docker, blob);
  });
});

describe("over a restart", () => {
  test("what was spent stays spent", async () => {
    const ledger = new FakeLedger();
    const quota = { limit: 2, windowMs: 60_000 };
    (await taken(await bucket({ ledger, quota }), pull)).answered(good);
    await taken(await bucket({ ledger, quota }), pull);
    const third = take(await bucket({ ledger, quota }), pull);
    await soon();
    expect(third.error).toMatchObject({ kind: "exhausted" });
  });

  test("what is in memory at the end is saved", async () => {
    const ledger = new FakeLedger();
    const docker = await bucket({ ledger });
    docker.saved(3, 300);
    await docker.close();
    expect((await bucket({ ledger })).snapshot().saved).toEqual({ pulls: 3, bytes: 300 });
  });
});
