/** Progress: a bar that stays below what is said, in a terminal; and lines alone where no one watches. */
import { expect, test } from "vitest";
import { Progress } from "../../../src/cli/progress.ts";

function write(isTTY: boolean, columns?: number): string {
  const written: string[] = [];
  const out = {
    isTTY,
    ...(columns !== undefined && { columns }),
    write: (text: string) => written.push(text),
  };
  const progress = new Progress("warming", 0, out);
  progress.reach(1024, 4096);
  progress.line("held web:1");
  progress.reach(4096, 4096);
  progress.end();
  return written.join("");
}

test("in a terminal, the bar is drawn anew below each line and stands full in the end", () => {
  const text = write(true);
  expect(text.split("\n")).toHaveLength(3);
  expect(text).toContain(
    "\r\u001b[Kheld web:1\n\r\u001b[Kwarming [########......................] 1.0 KiB of 4.0 KiB",
  );
  expect(text).toMatch(/\[#{30}\] 4\.0 KiB of 4\.0 KiB\n$/);
});

test("elsewhere there are only the lines", () => {
  expect(write(false)).toBe("held web:1\n");
});

test.each([
  [44, "[##############] 4.0 KiB of 4.0 KiB"],
  [30, "4.0 KiB of 4.0 KiB"],
  [20, "4.0 KiB of "],
])("a bar in a terminal of %i columns keeps to one line of it", (columns, last) => {
  const text = write(true, columns);
  expect(text.endsWith(`\r\u001b[Kwarming ${last}\n`)).toBe(true);
});
