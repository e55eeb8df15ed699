import { expect, test } from "vitest";
import { Line } from "../../../src/quota/line.ts";

test("who is not wanted any more does not get a turn", async () => {
  const line = new Line({ maxConcurrent: 1, minTime: 0 }, () => 10);
  await expect(line.turn(1, AbortSignal.abort(new Error("gone")))).rejects.toThrow("gone");
  expect(line.waiting).toBe(0);
  const end = await line.turn(1, new AbortController().signal);
  end();
});
