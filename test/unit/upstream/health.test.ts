import { expect, test } from "vitest";
import { parseRepositoryName, type Repository } from "../../../src/oci/reference.ts";
import { Health } from "../../../src/upstream/gate.ts";

function setUp() {
  let now = 1_000_000;
  const health = new Health({ now: () => now });
  return {
    health,
    pass: (ms: number) => void (now += ms),
    /** Pings that fail. */
    fail: (times: number) => {
      for (let count = 0; count < times; count += 1) health.admit(ping)?.failed();
    },
  };
}

function repository(text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error("not a name");
  return { upstream: "test.example", name };
}

function manifest(what: string, of: Repository) {
  return { kind: "manifest-get", what, repository: of } as const;
}

const broken = repository("evil/broken");
const sound = repository("library/sound");
const ping = { kind: "ping", what: "/v2/", repository: sound } as const;
const token = { kind: "token", what: "a token for library/sound", repository: sound } as const;

test("R35: five failures in a row, and it is known to be down; fewer are not enough", () => {
  const { health, fail } = setUp();
  fail(4);
  expect(health.knownDown).toBe(false);
  health.admit(ping)?.succeeded();
  fail(4);
  expect(health).toMatchObject({ failures: 4, knownDown: false });
  fail(1);
  expect(health).toMatchObject({ failures: 5, knownDown: true });
});

test("while down, one probe every five seconds is let through", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  expect(health.admit(ping)).toBeUndefined();
  pass(5000);
  expect(health.admit(ping)).toBeDefined();
  expect(health.admit(ping)).toBeUndefined();
});

test("R35: a probe that succeeds ends it", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(5000);
  health.admit(ping)?.succeeded();
  expect(health).toMatchObject({ failures: 0, knownDown: false });
  expect(health.admit(ping)).toBeDefined();
});

test("R35: a probe that never comes back does not keep the next from being sent", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(5000);
  const stalled = health.admit(ping);
  pass(5000);
  const next = health.admit(ping);
  expect(next).toBeDefined();
  next?.failed();
  stalled?.succeeded();
  expect(health.knownDown).toBe(true);
});

test("R35: a failure from before it recovered does not count against it", () => {
  const { health, pass, fail } = setUp();
  const slow = health.admit(ping);
  fail(5);
  slow?.succeeded();
  expect(health.knownDown).toBe(true);
  pass(5000);
  const probe = health.admit(ping);
  probe?.succeeded();
  probe?.failed();
  slow?.failed();
  expect(health.failures).toBe(0);
});

test("a probe that was never sent makes space for another at once", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(5000);
  health.admit(ping)?.abandoned();
  expect(health.admit(ping)).toBeDefined();
});

test("a clock that goes back does not keep it down", () => {
  const { health, pass, fail } = setUp();
  fail(5);
  pass(-3600_000);
  expect(health.admit(ping)).toBeDefined();
});

test("what fails again and again is refused by itself, and is tried once every five seconds", () => {
  const { health, pass } = setUp();
  for (let count = 0; count < 1000; count += 1) health.admit(manifest("broken", broken))?.failed();
  expect(health.admit(manifest("broken", broken))).toBeUndefined();
  expect(health).toMatchObject({ failures: 0, knownDown: false });
  expect([health.isFailing(broken), health.isFailing(sound)]).toEqual([true, false]);
  expect(health.admit(manifest("another", broken))).toBeDefined();
  expect(health.admit(manifest("sound", sound))).toBeDefined();
  pass(5000);
  health.admit(manifest("broken", broken))?.failed();
  expect(health.admit(manifest("broken", broken))).toBeUndefined();
  pass(5000);
  health.admit(manifest("broken", broken))?.succeeded();
  expect(health.isFailing(broken)).toBe(false);
  expect(health.admit(manifest("broken", broken))).toBeDefined();
});

test("R28: connections that cannot be made speak for the upstream, whatever is asked for", () => {
  const { health } = setUp();
  for (let count = 0; count < 5; count += 1) health.admit(manifest(`app-${count}`, sound))?.failed(true);
  expect(health.knownDown).toBe(true);
  expect(health.admit(manifest("another", sound))).toBeUndefined();
  expect(health.isFailing(broken)).toBe(true);
});

test("while down, only a ping of our own is let through, and ends it", () => {
  const { health, pass, fail } = setUp();
  const late = health.admit(manifest("late", sound));
  fail(5);
  pass(5000);
  expect(health.admit(manifest("loud", broken))).toBeUndefined();
  late?.succeeded();
  expect(health.knownDown).toBe(true);
  health.admit(ping)?.succeeded();
  expect(health.admit(manifest("loud", broken))).toBeDefined();
});

test("a token service that cannot be reached is tried once in five seconds, and no ping says that it is back", () => {
  const { health, pass } = setUp();
  for (let count = 0; count < 5; count += 1) health.admit(token)?.failed(true);
  expect(health).toMatchObject({ failures: 5, knownDown: true, awaitsPing: false });
  expect(health.admit(token)).toBeUndefined();
  // Tokens that are held are good for the registry.
  health.admit(manifest("sound", sound))?.succeeded();
  health.admit(ping)?.succeeded();
  expect(health.knownDown).toBe(true);
  pass(5000);
  health.admit(token)?.abandoned();
  health.admit(token)?.succeeded();
  expect(health).toMatchObject({ failures: 0, knownDown: false });
});

test("an answer to anything shows that the upstream is not down", () => {
  const { health, fail } = setUp();
  fail(4);
  health.admit(manifest("sound", sound))?.succeeded();
  fail(4);
  expect(health.knownDown).toBe(false);
});

test("a thousand things are remembered as failing, and the latest are refused", () => {
  const { health } = setUp();
  const failAt = (what: string, name: string): void => {
    for (let count = 0; count < 5; count += 1) health.admit(manifest(what, repository(name)))?.failed();
  };
  for (let number = 0; number < 1500; number += 1) failAt(`thing ${number}`, `evil/broken-${number}`);
  const isRefused = (number: number): boolean =>
    health.admit(manifest(`thing ${number}`, sound)) === undefined;
  expect([isRefused(0), isRefused(499), isRefused(1499)]).toEqual([false, false, true]);
  expect(health.isFailing(repository("evil/broken-0"))).toBe(false);
  expect(health.isFailing(repository("evil/broken-1499"))).toBe(true);
});

test("whether a failure is the upstream's own is found out once in five seconds", () => {
  const { health, pass } = setUp();
  expect([health.isWorthProbing(), health.isWorthProbing()]).toEqual([true, false]);
  pass(4999);
  expect(health.isWorthProbing()).toBe(false);
  pass(1);
  expect(health.isWorthProbing()).toBe(true);
  pass(-3600_000);
  expect(health.isWorthProbing()).toBe(true);
});
