/** The demo does what it says: its closing numbers are the stand-in's own, and it leaves nothing behind. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child } from "../support/child.ts";
import { startHub } from "../support/hub.ts";
import { limited, summary, tour } from "./tour.ts";

const program = fileURLToPath(new URL("run.ts", import.meta.url));

test(
  "shows every degradation step, and ends with the numbers that the stand-in counted",
  { timeout: 120_000 },
  async () => {
    const hub = await startHub({ limit: 30, window: 40 });
    const lines: string[] = [];
    const say = (line: string): void => void lines.push(line);
    try {
      const numbers = await tour({ hub, isWatched: false, say, signal: new AbortController().signal });
      const steps = [
        "COLD HERD",
        "HITS",
        "ROLLOUT",
        "LOW",
        "RESERVE",
        "EXHAUSTED",
        "REFUSED",
        "STALE",
        "REFILL",
      ];
      const shown = lines.flatMap((line) => steps.filter((step) => line.includes(`${step}:`)));
      expect(shown).toEqual(steps);
      expect(lines.join("\n")).toMatch(/has no pull left of 30 in 40 s; the next one is free at/);
      expect(lines.join("\n")).toMatch(/Warning: 299 - "served from cache, last confirmed \d+ s ago/);

      const answered = hub.counts.requests.filter(({ method, kind, status, origin }) => {
        const isContent = kind === "manifest" || (kind === "blob" && origin === "cdn");
        return method === "GET" && isContent && status === 200;
      });
      expect(numbers).toMatchObject({
        counted: hub.counts.charged.total,
        fetched: answered.reduce((sum, { bytes }) => sum + bytes, 0),
        failed: 0,
      });
      // All of the 30, and the image that was refused at first.
      expect(numbers.counted).toBe(32);
      expect(numbers.refused).toBeGreaterThanOrEqual(1);
      expect(numbers.stale).toBeGreaterThanOrEqual(8);
      expect(limited(hub)).toBe(0);
      expect(summary(numbers, hub)).toContain(
        "  32 pulls were spent, by Hubcap's count; 32 by the stand-in's own.",
      );
    } finally {
      await hub.stop();
    }
  },
);

test("cleans up when it is ended early", { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-demo-"));
  try {
    const demo = new Child([program, "--fast"], { ...process.env, TMPDIR: folder });
    const line = await demo.line((text) => text.startsWith("Watch it here: "));
    expect(await readdir(folder)).not.toEqual([]);
    const page = line.replace("Watch it here: ", "");
    expect(await (await fetch(page)).text()).toContain("<title>Hubcap</title>");
    demo.kill("SIGINT");
    expect((await demo.exit).code).toBe(130);
    expect(demo.lines.at(-1)).toBe("Ended early; everything is cleaned up.");
    expect(demo.errors).toBe("");
    expect(await readdir(folder)).toEqual([]);
    await expect(fetch(page)).rejects.toThrow("fetch failed");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
