/** Alerts that no integration test can wait for: forecasts, certificates, the disk, the audit log. */
import type { Degraded } from "../../../src/store/health.ts";
import { expect, it, onTestFinished } from "vitest";
import { startAlertChecks, type AlertChecksOptions } from "../../../src/serve/alerts.ts";
import type { Snapshot } from "../../../src/quota/snapshot.ts";
import { Alerts, type AlertMessage } from "../../../src/telemetry/alerts.ts";
import { Metrics } from "../../../src/telemetry/metrics.ts";
import { ManualClock } from "../../support/manualClock.ts";

const hour = 60 * 60_000;
const everything = [
  "quota-low",
  "quota-forecast",
  "disk",
  "certificate",
  "audit",
  "corrupt-blob",
  "tag-moved",
];

const at = (ms: number): string => new Date(ms).toISOString();

function open() {
  const clock = new ManualClock(1_000 * hour);
  const metrics = new Metrics();
  const state: { degraded: Degraded | undefined; isAuditFailing: boolean; snapshot: Partial<Snapshot> } = {
    degraded: undefined,
    isAuditFailing: false,
    snapshot: { state: "ok", remaining: 90, limit: 100, emptyAt: null },
  };
  const sent: string[] = [];
  const webhook = {
    send: ({ event, state, subject }: AlertMessage) => void sent.push(`${event} ${state} ${subject}`),
  };
  const options = {
    alerts: new Alerts([{ webhook, on: everything, minIntervalMs: 0 }], "instance"),
    connected: new Map([
      [
        "docker.io",
        {
          bucket: { snapshot: () => state.snapshot, on: () => () => {} },
          registry: { health: { knownDown: false } },
        },
      ],
    ]),
    health: state,
    metrics,
    isAuditFailing: () => state.isAuditFailing,
    failed: (error: unknown) => void sent.push(String(error)),
    clock,
  };
  onTestFinished(startAlertChecks(options as unknown as AlertChecksOptions));
  const next = async (ms = 5_000): Promise<string[]> => {
    // The check at the start ends first.
    await clock.advance(0);
    await clock.advance(ms);
    return sent.splice(0);
  };
  return { state, metrics, clock, next };
}

it("a quota that will be empty within the hour, but not one that will be later", async () => {
  const { state, clock, next } = open();
  const forecast = (ms: number): void => {
    state.snapshot = { ...state.snapshot, emptyAt: at(clock.now() + ms) };
  };
  forecast(2 * hour);
  expect(await next()).toEqual([]);
  forecast(hour / 2);
  expect(await next()).toEqual(["quota-forecast firing docker.io"]);
  forecast(2 * hour);
  expect(await next()).toEqual(["quota-forecast resolved docker.io"]);
});

it("a certificate that expires within 14 days, of a listener or an upstream", async () => {
  const { metrics, clock, next } = open();
  const day = 24 * 3600;
  metrics.upstreamCertificateExpiry.set({ upstream: "ghcr.io" }, clock.now() / 1000 + 15 * day);
  metrics.certificateExpiry.set({ listener: "registry" }, clock.now() / 1000 + 15 * day);
  expect(await next()).toEqual([]);
  metrics.upstreamCertificateExpiry.set({ upstream: "ghcr.io" }, clock.now() / 1000 + 13 * day);
  expect(await next()).toEqual(["certificate firing ghcr.io"]);
  metrics.certificateExpiry.set({ listener: "registry" }, clock.now() / 1000 + 13 * day);
  expect(await next()).toEqual(["certificate firing registry"]);
});

it("a disk in trouble and an audit log that loses lines, until they recover", async () => {
  const { state, next } = open();
  [state.degraded, state.isAuditFailing] = [{ reason: "disk-full", text: "the disk is full" }, true];
  expect(await next()).toEqual(["disk firing storage", "audit firing audit.file"]);
  [state.degraded, state.isAuditFailing] = [undefined, false];
  expect(await next()).toEqual(["disk resolved storage", "audit resolved audit.file"]);
});

it("blobs in quarantine, for as long as more come", async () => {
  const { metrics, next } = open();
  await next();
  metrics.quarantined.inc({ reason: "bytes" });
  expect(await next()).toEqual(["corrupt-blob firing storage"]);
  await next(hour - 10_000);
  metrics.quarantined.inc({ reason: "size" });
  expect(await next(hour - 10_000)).toEqual([]);
  expect(await next(20_000)).toEqual(["corrupt-blob resolved storage"]);
});

it("an immutable tag that moved, by upstream, for as long as more do", async () => {
  const { metrics, next } = open();
  metrics.immutableMoves.inc({ upstream: "ghcr.io" });
  expect(await next()).toEqual(["tag-moved firing ghcr.io"]);
  expect(await next(hour - 10_000)).toEqual([]);
  expect(await next(20_000)).toEqual(["tag-moved resolved ghcr.io"]);
});
