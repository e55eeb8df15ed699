/** What a worker reports to its owner: all of it, once, and in order. */
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { ManualClock } from "../../support/manualClock.ts";
import { WorkerReports, type WorkerReport } from "../../../src/serve/workerReports.ts";

describe("the reports of a worker", () => {
  it("hold the lines of many turns together, in the order in which they came", async () => {
    const { reports, sent, clock } = open();
    const lines = Array.from({ length: 30 }, (_, number) => `lïne ${number} \u2028 🚢\n`);
    for (const [number, line] of lines.entries()) {
      reports.write(line);
      if (number % 10 === 0) await turn();
    }
    await turn();
    expect(sent).toEqual([]);
    await clock.advance(100);
    expect(sent.map(textOf)).toEqual([lines.join("")]);
  });

  it("hold what came in the same turn when they are flushed, and nothing of it again", async () => {
    const { reports, sent, clock } = open();
    reports.write("early\n");
    await turn();
    reports.write("late\n");
    reports.flush();
    expect(sent.map(textOf)).toEqual(["early\nlate\n"]);
    await turn();
    await clock.advance(100);
    expect(sent).toHaveLength(1);
    reports.write("later\n");
    await turn();
    await clock.advance(100);
    expect(sent.slice(1).map(textOf)).toEqual(["later\n"]);
  });

  it("keep lines in order when there are more in one turn than are written at once", async () => {
    const { reports, sent, clock } = open();
    const lines = Array.from({ length: 3000 }, (_, number) => `${"x".repeat(100)} ${number}\n`);
    for (const line of lines) reports.write(line);
    await turn();
    await clock.advance(100);
    expect(sent.map(textOf).join("")).toBe(lines.join(""));
  });
});

function open() {
  const sent: WorkerReport[] = [];
  const clock = new ManualClock();
  return { reports: new WorkerReports((report) => sent.push(report), clock), sent, clock };
}

function textOf({ lines }: WorkerReport): string {
  expect(lines).toBeInstanceOf(Buffer);
  return lines.toString();
}
