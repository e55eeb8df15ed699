import { expect, test } from "vitest";
import { Health } from "../../../src/upstream/gate.ts";

function setUp(): { health: Health; pass: (ms: number) => void; fail: (times: number) => void } {
  let now = 1_000_000;
  const health = new Health({ now: () => now });
  return {
    health,
    pass: (ms) => void (now += ms),
    fail: (times) => {
      for (let count = 0; count < times; count += 1) health.admit()?.failed();
    },
  };
}

test("R35: five failures in a row, and it is known to be down; fewer are not enough", () => {
  const { health, fail } = setUp();
  fail(4);
  expect(health.knownDown).toBe(false);
  health.admit()?.succeeded();
  fail(4);
  expect(health).toMatchObject({ failures: 4, knownDown: false });
  fail(1);
  expect(health).toMatchObject({ failures: 5, knownDown: true });
});

test("while down, one probe every five seconds is let through", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  expect(health.admit()).toBeUndefined();
  pass(5000);
  expect(health.admit()).toBeDefined();
  expect(health.admit()).toBeUndefined();
});

test("R35: a probe that succeeds ends it", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(5000);
  health.admit()?.succeeded();
  expect(health).toMatchObject({ failures: 0, knownDown: false });
  expect(health.admit()).toBeDefined();
});

test("R35: a probe that never comes back does not keep the next from being sent", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(5000);
  const stalled = health.admit();
  pass(5000);
  const next = health.admit();
  expect(next).toBeDefined();
  next?.failed();
  stalled?.succeeded();
  expect(health.knownDown).toBe(true);
});

test("R35: a failure from before it recovered does not count against it", () => {
  const { health, pass, fail } = setUp();
  const slow = health.admit();
  fail(5);
  slow?.succeeded();
  expect(health.knownDown).toBe(true);
  pass(5000);
  const probe = health.admit();
  probe?.succeeded();
  probe?.failed();
  slow?.failed();
  expect(health.failures).toBe(0);
});

test("a probe that was never sent makes space for another at once", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(5000);
  health.admit()?.abandoned();
  expect(health.admit()).toBeDefined();
});

test("a clock that goes back does not keep it down", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(-3600_000);
  expect(health.admit()).toBeDefined();
});
