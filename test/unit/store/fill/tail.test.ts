import { expect, it } from "vitest";
import { Tail } from "../../../../src/store/fill/tail.ts";

const mib = 1024 * 1024;
const chunk = (fill: number, length: number): Buffer => Buffer.alloc(length, fill);

it("has the newest bytes, and neither those that are gone nor those to come", () => {
  const tail = new Tail(10);
  expect(tail.take(10, 20)).toBeUndefined();
  expect(tail.append(chunk(1, 5), 10)).toBe(5);
  expect(tail.take(9, 20)).toBeUndefined();
  expect(tail.take(12, 20)?.bytes).toEqual(chunk(1, 3));
  expect(tail.take(15, 20)).toBeUndefined();
  expect([tail.start, tail.end]).toEqual([10, 15]);
});

it("takes no more than it has space for while nothing has been written", () => {
  const tail = new Tail(0);
  const took = tail.append(chunk(1, 16 * mib), 0);
  expect(took).toBeLessThanOrEqual(4 * mib);
  expect(tail.append(chunk(2, 1), 0)).toBe(0);
  expect(tail.append(chunk(2, mib), took)).toBe(mib);
  expect(tail.take(0, 1)).toBeUndefined();
  tail.close();
});

it("puts nothing else where somebody still reads, however much has come since", () => {
  const tail = new Tail(0);
  tail.append(chunk(1, 1000), 0);
  const reading = tail.take(0, 1000);
  for (let number = 2; number < 40; number++) tail.append(chunk(number, mib), tail.end);
  expect(reading?.bytes).toEqual(chunk(1, 1000));
  reading?.release();
  tail.close();
});
