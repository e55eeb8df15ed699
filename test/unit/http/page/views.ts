/** What the page may have to show, made up. */
import type { View } from "../../../../src/http/page/view.ts";
import type { Snapshot } from "../../../../src/quota/snapshot.ts";
import { History } from "../../../../src/telemetry/history.ts";

/** When it is. */
export const now = Date.parse("2026-11-22T12:00:00Z");

/** An upstream of which all of 100 pulls in 6 h are left, by default. */
export function snapshotWith(more: Partial<Snapshot>): Snapshot {
  return {
    name: "docker.io",
    account: "anonymous",
    source: null,
    state: "ok",
    limit: 100,
    windowSeconds: 21_600,
    remaining: 100,
    reserve: 10,
    spentInWindow: 0,
    setAside: 0,
    inFlight: 0,
    waiting: 0,
    burnPerHour: 0,
    emptyAt: null,
    nextFreeAt: null,
    fullAt: null,
    learntFrom: "headers",
    observedAt: null,
    saved: { pulls: 0, bytes: 0 },
    rehearsal: null,
    ...more,
  };
}

/** A quiet Hubcap with one upstream, by default. */
export function viewWith(more: Partial<View>): View {
  return {
    now,
    upstreams: [{ quota: snapshotWith({}), health: { failures: 0, knownDown: false } }],
    spent: { clients: [], repositories: [], courses: new Map(), refused: new Map() },
    history: new History(() => now),
    fills: { shown: [], hidden: 0 },
    failures: [],
    disk: { capacity: 1024, held: { bytes: 0, blobs: 0, manifests: 0 }, oldestUse: undefined },
    degraded: undefined,
    ...more,
  };
}
