import { expect, it } from "vitest";
import { Pool } from "../../../../src/store/fill/pool.ts";

const mib = 1024 * 1024;

it("lends a buffer to one at a time, again and again", () => {
  const pool = new Pool();
  const first = pool.take();
  const other = pool.take();
  expect(other.buffer).not.toBe(first.buffer);
  first.release();
  const next = pool.take();
  expect(next.buffer).toBe(first.buffer);
  // Whose buffer is over has no say any more about a buffer that is somebody else's.
  first.release();
  expect(pool.take().buffer).not.toBe(next.buffer);
});

it("bounds what many who give nothing back hold, and has enough for as many as come", () => {
  const pool = new Pool();
  const buffers = Array.from({ length: 1000 }, () => pool.take());
  expect(new Set(buffers.map(({ buffer }) => buffer)).size).toBe(1000);
  const all = (): number => buffers.reduce((sum, { buffer }) => sum + buffer.length, 0);
  expect(all()).toBeLessThan(100 * mib);
  const before = new Set(buffers.map(({ buffer }) => buffer));
  for (const buffer of buffers) buffer.release();
  // What is kept for later is bounded too.
  const kept = Array.from({ length: 1000 }, () => pool.take()).filter(({ buffer }) => before.has(buffer));
  expect(kept.reduce((sum, { buffer }) => sum + buffer.length, 0)).toBeLessThan(50 * mib);
});
