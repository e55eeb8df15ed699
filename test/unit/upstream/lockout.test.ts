import { expect, test } from "vitest";
import { UpstreamError } from "../../../src/upstream/error.ts";
import { Lockout } from "../../../src/upstream/lockout.ts";
import { Secret } from "../../../src/upstream/secret.ts";

const secret = new Secret("cluster", "right");

function setUp(): { lockout: Lockout; pass: (ms: number) => void; isOpen: () => boolean } {
  let now = 0;
  const lockout = new Lockout("docker.io", "cluster", () => now);
  const isOpen = (): boolean => {
    try {
      lockout.check(secret);
      return true;
    } catch (error) {
      return !(error instanceof UpstreamError && error.kind === "denied" && (error.retryAfter ?? 0) > 0);
    }
  };
  return { lockout, pass: (ms) => void (now += ms), isOpen };
}

test("a secret that never worked is tried again after a minute, then two, then four", () => {
  const { lockout, pass, isOpen } = setUp();
  for (const minutes of [1, 2, 4]) {
    lockout.refused(secret);
    pass(minutes * 60_000 - 1);
    expect(isOpen()).toBe(false);
    pass(1);
    expect(isOpen()).toBe(true);
  }
});

test("another secret may be tried at once", () => {
  const { lockout, isOpen } = setUp();
  lockout.refused(secret);
  expect(isOpen()).toBe(false);
  expect(() => lockout.check(new Secret("cluster", "rotated"))).not.toThrow();
});

test("a secret that worked is not given up for one hidden repository, but for three refusals in a row", () => {
  const { lockout, isOpen } = setUp();
  lockout.accepted(secret);
  lockout.refused(secret);
  lockout.refused(secret);
  expect(isOpen()).toBe(true);
  lockout.refused(secret);
  expect(isOpen()).toBe(false);
});

test("while nothing is proven, logins go one by one", async () => {
  const { lockout } = setUp();
  let running = 0;
  let most = 0;
  const login = async (): Promise<void> => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
  };
  await Promise.all(Array.from({ length: 20 }, () => lockout.inTurn(login)));
  expect(most).toBe(1);
  lockout.accepted(secret);
  await Promise.all(Array.from({ length: 20 }, () => lockout.inTurn(login)));
  expect(most).toBe(20);
});
