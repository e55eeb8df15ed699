/** What a worker tells its owner: all of it, once, and in order. */
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { WorkerReports, type ReportBatch } from "../../../src/serve/workerReports.ts";

describe("an outbox", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout"] }));
  afterEach(() => void vi.useRealTimers());

  it("sends the lines of many turns together, in the order in which they came", async () => {
    const { outbox, batches } = opened();
    const lines = Array.from({ length: 30 }, (_, number) => `lïne ${number} \u2028 🚢\n`);
    for (const [number, line] of lines.entries()) {
      outbox.write(line);
      if (number % 10 === 0) await turn();
    }
    await turn();
    expect(batches).toEqual([]);
    vi.advanceTimersByTime(100);
    expect(batches.map(textOf)).toEqual([lines.join("")]);
  });

  it("sends what came in the same turn when it is asked to, and nothing of it again", async () => {
    const { outbox, batches } = opened();
    outbox.write("early\n");
    await turn();
    outbox.write("late\n");
    outbox.flush();
    expect(batches.map(textOf)).toEqual(["early\nlate\n"]);
    await turn();
    vi.advanceTimersByTime(100);
    expect(batches).toHaveLength(1);
    outbox.write("later\n");
    await turn();
    vi.advanceTimersByTime(100);
    expect(batches.slice(1).map(textOf)).toEqual(["later\n"]);
  });

  it("keeps lines in order when there are more in one turn than are written at once", async () => {
    const { outbox, batches } = opened();
    const lines = Array.from({ length: 3000 }, (_, number) => `${"x".repeat(100)} ${number}\n`);
    for (const line of lines) outbox.write(line);
    await turn();
    vi.advanceTimersByTime(100);
    expect(batches.map(textOf).join("")).toBe(lines.join(""));
  });
});

function opened(): { readonly outbox: WorkerReports; readonly batches: ReportBatch[] } {
  const batches: ReportBatch[] = [];
  return { outbox: new WorkerReports((batch) => batches.push(batch)), batches };
}

function textOf({ lines }: ReportBatch): string {
  expect(lines).toBeInstanceOf(Buffer);
  return lines.toString();
}
