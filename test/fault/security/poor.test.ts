/** An upstream that sends a byte and breaks off, over and over, keeps no download alive. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { patience } from "../../support/patience.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
});
afterAll(() => setup.close());

it.each(["named by a manifest", "named by none"])(
  "ends the download of a blob %s after 20 connections",
  async (how) => {
    const pushed = await setup.pushLayer(`library/${how.replaceAll(" ", "-")}`, 1024 * 1024);
    if (how === "named by a manifest") await setup.name(pushed);
    setup.hub.fault({
      origin: "cdn",
      digest: pushed.layer.digest,
      kind: "truncate",
      after: 1,
      framing: "length",
    });
    const failed = (): Promise<number> =>
      setup.hubcap.metric("hubcap_fill_failures_total", { reason: "broken" });
    const before = await failed();
    setup.hub.counts.reset();
    expect(await setup.read(pushed).ended).toMatchObject({ complete: false });
    await expect.poll(failed, patience).toBe(before + 1);
    expect(await setup.hubcap.metric("hubcap_fills_running")).toBe(0);
    expect(setup.hub.counts.cdnGets.total).toBe(20);
  },
);
