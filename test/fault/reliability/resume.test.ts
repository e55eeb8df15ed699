/** Cases R6 to R11: an upstream that stalls, breaks off or sends something else, in the middle of a blob. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import type { FaultAction } from "../../support/faults.ts";
import { whole } from "../../support/reader.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const mib = 1024 * 1024;
const cdnBlob = { origin: "cdn", asks: "blob" } as const;

let setup: Setup;
let pushes = 0;

beforeAll(async () => {
  setup = await openSetup({ upstream: { timeouts: { stall: "1s" } } });
});
afterEach(() => {
  setup.hub.faults.clear();
  setup.hub.counts.reset();
});
afterAll(() => setup.close());

const pushNew = (bytes = 2 * mib) => setup.pushLayer(`library/app${++pushes}`, bytes);

/** The Range headers that came to the CDN, in order. */
const ranges = (): (string | undefined)[] =>
  setup.hub.counts.requests.filter(({ origin }) => origin === "cdn").map(({ headers }) => headers.range);

const corrupt = (): Promise<number> =>
  setup.hubcap.metric("hubcap_fill_failures_total", { reason: "corrupt" });

describe("an upstream in the middle of a blob", () => {
  it("R6 that stalls is asked for the rest on a new connection, and the client sees a pause only", async () => {
    const pushed = await pushNew();
    setup.hub.fault({ ...cdnBlob, kind: "stall", after: mib, times: 1 });
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(ranges()).toEqual([undefined, `bytes=${mib}-`]);
    // Not the CDN's own address, which has expired when it matters.
    expect(setup.hub.counts.blobGets.total).toBe(2);
  });

  it.for<[string, FaultAction]>([
    ["ignores the range", { kind: "whole" }],
    ["sends another part", { kind: "contentRange", start: 7 }],
    ["tells another size", { kind: "contentRange", total: 5 }],
    ["says that there is no rest", { kind: "status", status: 416 }],
  ])("R7 that stalls and then %s does no harm", async ([, fault]) => {
    const pushed = await pushNew();
    setup.hub.fault({ ...cdnBlob, kind: "stall", after: mib, times: 1 });
    const wrong = setup.hub.fault({ ...cdnBlob, ...fault, ranged: true });
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(wrong.hits).toBeGreaterThan(0);
    await setup.held(pushed);
  });

  it.for<[string, number]>([
    ["the first byte", 1],
    ["half of it", mib],
    ["all but the last byte", -1],
  ])("R8 that breaks off after %s is asked for the rest", async ([, after]) => {
    const pushed = await pushNew();
    setup.hub.fault({ ...cdnBlob, kind: "reset", after, times: 1 });
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    // A reset may take bytes along that had come but were not read yet.
    const rest = ranges().map((range) =>
      Number(/^bytes=(?<from>\d+)-$/.exec(range ?? "")?.groups?.["from"] ?? 0),
    );
    expect(rest).toHaveLength(2);
    expect(rest[1]).toBeLessThanOrEqual(after < 0 ? pushed.layer.size + after : after);
  });

  it("R8 that breaks off three times without a byte is given up: clients are cut and nothing is kept", async () => {
    const pushed = await pushNew();
    setup.hub.fault({ ...cdnBlob, kind: "reset", after: mib, times: 1 });
    setup.hub.fault({ ...cdnBlob, kind: "reset", after: 0, ranged: true });
    const readers = [setup.read(pushed), setup.read(pushed)];
    for (const { ended } of readers) {
      expect(await ended).toMatchObject({ status: 200, complete: false, right: true });
    }
    expect(ranges()).toHaveLength(4);
    await expect.poll(() => readdir(join(setup.hubcap.root, "ingest"))).toEqual([]);

    setup.hub.faults.clear();
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect((await setup.outcomes(pushed, 3)).at(-1)).toBe("miss");
  });

  it("R10 that sends wrong bytes never gets a blob to its end", async () => {
    const pushed = await pushNew();
    const before = await corrupt();
    setup.hub.fault({ ...cdnBlob, kind: "flip", at: -0.5 * mib, times: 1 });
    const { status, complete, received } = await setup.read(pushed).ended;
    expect({ status, complete }).toEqual({ status: 200, complete: false });
    expect(received).toBeLessThanOrEqual(pushed.layer.size - 64 * 1024);
    expect(await corrupt()).toBe(before + 1);

    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(await setup.outcomes(pushed, 2)).toEqual(["miss", "miss"]);
  });

  it("R10 that sends wrong bytes of a small blob is an error and not a cut", async () => {
    const pushed = await pushNew(4096);
    setup.hub.fault({ ...cdnBlob, kind: "flip", at: 100, times: 1 });
    const reply = await ask(setup.blobUrl(pushed));
    expect(reply.status).toBe(502);
    expect(reply.body.toString()).toContain("UPSTREAM_INVALID");
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
  });

  it("R11 that answers 200 without a byte is an error, and nothing is kept", async () => {
    const pushed = await pushNew();
    setup.hub.fault({ ...cdnBlob, kind: "empty", times: 1 });
    expect((await ask(setup.blobUrl(pushed))).status).toBe(502);
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(await setup.outcomes(pushed, 2)).toEqual(["error", "miss"]);
  });
});
