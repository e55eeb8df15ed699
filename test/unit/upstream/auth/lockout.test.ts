import { expect, test } from "vitest";
import { UpstreamError } from "../../../../src/upstream/error.ts";
import { Lockout, AccountSecret } from "../../../../src/upstream/auth/credential.ts";
const secret = new AccountSecret("cluster", "right");

function setUp(): { lockout: Lockout; pass: (ms: number) => void; isOpen: () => Promise<boolean> } {
  let now = 0;
  const lockout = new Lockout("docker.io", "cluster", { now: () => now });
  const isOpen = async (): Promise<boolean> => {
    try {
      await lockout.tryLogin(secret, async () => {});
      return true;
    } catch (error) {
      return !(error instanceof UpstreamError && error.kind === "denied" && (error.retryAfter ?? 0) > 0);
    }
  };
  return { lockout, pass: (ms) => void (now += ms), isOpen };
}

test("a secret that never worked is tried again after a minute, then two, then four", async () => {
  const { lockout, pass, isOpen } = setUp();
  for (const minutes of [1, 2, 4]) {
    lockout.refused(secret);
    pass(minutes * 60_000 - 1);
    expect(await isOpen()).toBe(false);
    pass(1);
    expect(await isOpen()).toBe(true);
  }
});

test("another secret may be tried at once", async () => {
  const { lockout, isOpen } = setUp();
  lockout.refused(secret);
  expect(await isOpen()).toBe(false);
  await lockout.tryLogin(new AccountSecret("cluster", "rotated"), async () => {});
});

test("a secret that worked is not given up for one hidden repository, but for three refusals in a row", async () => {
  const { lockout, isOpen } = setUp();
  lockout.accepted(secret);
  lockout.refused(secret);
  lockout.refused(secret);
  expect(await isOpen()).toBe(true);
  lockout.refused(secret);
  expect(await isOpen()).toBe(false);
});

test("while a secret is not known to work, logins go one by one", async () => {
  const { lockout } = setUp();
  let running = 0;
  let most = 0;
  const twenty = async (shown: AccountSecret): Promise<number> => {
    most = 0;
    await Promise.all(Array.from({ length: 20 }, () => lockout.tryLogin(shown, login)));
    return most;
  };
  const login = async (): Promise<void> => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
  };
  expect(await twenty(secret)).toBe(1);
  lockout.accepted(secret);
  expect(await twenty(secret)).toBe(20);
  // What replaces it may be wrong, and so may it be itself from one moment to the next.
  expect(await twenty(new AccountSecret("cluster", "rotated"))).toBe(1);
  lockout.refused(secret);
  expect(await twenty(secret)).toBe(1);
});

test("an aborted request does not wait for its turn, and does not log in", async () => {
  const { lockout } = setUp();
  const { promise: first, resolve } = Promise.withResolvers<void>();
  const trial = lockout.tryLogin(secret, () => first);
  const leaver = new AbortController();
  let hasTried = false;
  const second = lockout.tryLogin(secret, async () => void (hasTried = true), leaver.signal);
  leaver.abort(new Error("gone"));
  await expect(second).rejects.toThrow("gone");
  resolve();
  await trial;
  expect(hasTried).toBe(false);
});
