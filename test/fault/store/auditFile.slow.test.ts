/** The audit file on a disk that fills up and is emptied again. */
import { systemClock } from "../../../src/async/clock.ts";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { AuditFile } from "../../../src/telemetry/auditFile.ts";
import { withSmallDisk, type SmallDisk } from "../../support/smallDisk.ts";

// Longer than half a page, so that the last one that begins does not end on a full disk.
const lineOf = (number: number): string => `${JSON.stringify({ number, text: "x".repeat(2990) })}\n`;

withSmallDisk("64k", (mount) => {
  let disk: SmallDisk;

  beforeEach(() => {
    disk = mount();
  });
  afterEach(() => disk.unmount());

  it("has whole lines alone, whatever the disk took of them, and goes on when there is space", async () => {
    await writeFile(join(disk.folder, "ballast"), Buffer.alloc(40 * 1024));
    const events = {
      failed: vi.fn<() => void>(),
      lost: vi.fn<(lines: number) => void>(),
      recovered: vi.fn<() => void>(),
    };
    const path = join(disk.folder, "audit");
    const file = new AuditFile({ path, clock: systemClock, ...events });
    for (let number = 0; number < 12; number++) file.add(lineOf(number));
    await expect.poll(() => events.failed).toHaveBeenCalledOnce();
    const before = await readFile(path, "utf8");
    expect(before.endsWith("\n")).toBe(false);

    await rm(join(disk.folder, "ballast"));
    file.add(lineOf(99));
    await expect.poll(() => events.recovered).toHaveBeenCalledOnce();
    await file.close();
    const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
    const numbers = lines.map((line) => (JSON.parse(line) as { number: number }).number);
    expect(numbers.at(-1)).toBe(99);
    expect(numbers.slice(0, -1)).toEqual(numbers.slice(0, -1).map((_, index) => index));
    const lost = events.lost.mock.calls.reduce((sum, [count]) => sum + count, 0);
    expect(lost + numbers.length).toBe(13);
  });
});
