/** What the metrics say of a bucket is what the upstream charged for. */
import { systemClock } from "../../../src/async/clock.ts";
import { expect, test } from "vitest";
import { reportQuotaEvents } from "../../../src/serve/upstreams.ts";
import { openBucket } from "../../../src/quota/bucket.ts";
import type { QuotaAnswer, Reason, RequestKind } from "../../../src/quota/quota.ts";
import { openLog } from "../../../src/telemetry/log.ts";
import { Metrics } from "../../../src/telemetry/metrics.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";
import { requestOf } from "../quota/world.ts";

test("a pull counts as spent when it is answered, one that was answered 429 never", async () => {
  const metrics = new Metrics();
  const ledger = new FakeLedger();
  const bucket = await openBucket({
    upstream: "docker.io",
    reserve: 0.1,
    low: 0.3,
    maxWaitMs: 1000,
    concurrency: 4,
    ledger,
    clock: systemClock,
  });
  reportQuotaEvents(bucket, openLog("error"), metrics);
  const send = async (kind: RequestKind, reason: Reason, answer?: Partial<QuotaAnswer>): Promise<void> => {
    const permit = await bucket.take(requestOf(kind, reason));
    if (answer) permit.answered({ status: 200, headers: {}, ...answer });
    else permit.failed();
  };
  const spent = async (reason: Reason): Promise<string | undefined> =>
    new RegExp(`^hubcap_quota_spent_total\\{.*reason="${reason}".*\\} (\\d+)$`, "m").exec(
      await metrics.read(),
    )?.[1];

  await send("manifest-head", "pull", {});
  expect(await spent("pull")).toBeUndefined();
  await send("manifest-get", "pull", {});
  await send("manifest-get", "pull");
  await send("manifest-get", "revalidate", { status: 404 });
  await send("manifest-get", "warm", { status: 429 });
  expect([await spent("pull"), await spent("revalidate"), await spent("warm")]).toEqual([
    "2",
    "1",
    undefined,
  ]);
  expect(ledger.entries.map(({ cost }) => cost)).toEqual([1, 1, 1, 0]);
  await bucket.close();
});
