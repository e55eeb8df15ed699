import { expect, test } from "vitest";
import { UpstreamError } from "../../../../src/upstream/error.ts";
import { Lockout, AccountSecret } from "../../../../src/upstream/auth/credential.ts";

const secret = new AccountSecret("cluster", "right");

/** A service that accepts `right`, hides what is to be hidden, and counts its answers. */
class Service {
  right: AccountSecret = secret;
  named = { accepted: 0, refused: 0 };
  own = { accepted: 0, refused: 0 };
  now = 0;
  readonly lockout = new Lockout("docker.io", "cluster", { now: () => this.now });

  /** The answer to a login for a repository: true, false for a 401, "paused" when it was not sent. */
  async login(shown = secret, { isHidden = false } = {}): Promise<boolean | "paused"> {
    const count = (counts: Service["own"], isAccepted: boolean): boolean => {
      counts[isAccepted ? "accepted" : "refused"] += 1;
      return isAccepted;
    };
    try {
      return await this.lockout.tryLogin(shown, {
        send: async () => count(this.named, shown.equals(this.right) && !isHidden),
        isRefusal: (answer) => !answer,
        own: async () => count(this.own, shown.equals(this.right)),
      });
    } catch (error) {
      if (error instanceof UpstreamError && error.reason === "credential-refused") return "paused";
      throw error;
    }
  }
}

const wrong = new AccountSecret("cluster", "wrong");

test("a wrong secret is tried for one name and by one login of our own, then by our own alone: after a minute, two, four", async () => {
  const service = new Service();
  expect(await service.login(wrong)).toBe(false);
  expect(service.lockout.isRefused(wrong)).toBe(true);
  for (const [tries, minutes] of [1, 2, 4].entries()) {
    service.now += minutes * 60_000 - 1;
    expect(await service.login(wrong)).toBe("paused");
    service.now += 1;
    expect(await service.login(wrong)).toBe("paused");
    expect([service.named.refused, service.own.refused]).toEqual([1, tries + 2]);
  }
  service.right = wrong;
  service.now += 8 * 60_000;
  expect(await service.login(wrong)).toBe(true);
});

test("another secret may be tried at once", async () => {
  const service = new Service();
  await service.login(wrong);
  expect(await service.login(secret)).toBe(true);
});

test("names that are hidden never lock, however many there are", async () => {
  const service = new Service();
  expect(await service.login()).toBe(true);
  for (let number = 0; number < 200; number += 1)
    expect(await service.login(secret, { isHidden: true })).toBe(false);
  expect(service.own.refused).toBe(0);
  expect(service.own.accepted).toBeLessThan(20);
  expect(await service.login()).toBe(true);
});

test.each([
  ["is found out by one name and one login of our own", false, 2],
  ["is found out by a few names more while others are hidden", true, 12],
])("a secret that stops being right a moment after it worked %s", async (_, hasHidden, failed) => {
  const service = new Service();
  expect(await service.login()).toBe(true);
  if (hasHidden) await service.login(secret, { isHidden: true });
  const before = service.named.refused;
  service.right = new AccountSecret("cluster", "rotated");
  for (let number = 0; number < 200; number += 1) expect(await service.login()).not.toBe(true);
  expect(service.named.refused - before + service.own.refused).toBe(failed);
});

test("while a secret is not known to work, logins go one by one", async () => {
  const lockout = new Lockout("docker.io", "cluster", { now: () => 0 });
  let running = 0;
  let most = 0;
  const send = async (): Promise<boolean> => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    return true;
  };
  const login = { send, isRefusal: (answer: boolean) => !answer, own: send };
  const twenty = async (shown: AccountSecret): Promise<number[]> => {
    const logins = Array.from({ length: 20 }, () => lockout.tryLogin(shown, login));
    const before = running;
    await logins[0];
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all(logins);
    return [before, most];
  };
  expect(await twenty(secret)).toEqual([1, 19]);
  expect(await twenty(secret)).toEqual([20, 20]);
  // What replaces it may be wrong.
  most = 0;
  expect(await twenty(new AccountSecret("cluster", "rotated"))).toEqual([1, 19]);
});

test("those that wait to be sent wait again when the secret may not be right any more", async () => {
  const service = new Service();
  await service.login();
  service.right = new AccountSecret("cluster", "rotated");
  let sent = 0;
  // As in a queue: it leaves when the signal says so.
  const queued = Array.from({ length: 100 }, () =>
    service.lockout
      .tryLogin(secret, {
        send: (suspicion) =>
          new Promise<boolean>((resolve, reject) => {
            suspicion.addEventListener("abort", () => reject(suspicion.reason));
            setTimeout(() => {
              if (!suspicion.aborted) sent += 1;
              resolve(false);
            }, 50);
          }),
        isRefusal: (answer) => !answer,
        own: async () => false,
      })
      .catch((error: unknown) => error),
  );
  for (let number = 0; number < 3; number += 1) expect(await service.login()).not.toBe(true);
  const answers = await Promise.all(queued);
  expect(sent).toBe(0);
  expect(answers.every((answer) => answer instanceof UpstreamError)).toBe(true);
});

test("an aborted request does not wait for its turn, and does not log in", async () => {
  const lockout = new Lockout("docker.io", "cluster", { now: () => 0 });
  const { promise: first, resolve } = Promise.withResolvers<boolean>();
  const rest = { isRefusal: (answer: boolean) => !answer, own: async () => true };
  const trial = lockout.tryLogin(secret, { send: () => first, ...rest });
  const leaver = new AbortController();
  let hasTried = false;
  const send = async (): Promise<boolean> => (hasTried = true);
  const second = lockout.tryLogin(secret, { send, ...rest }, leaver.signal);
  leaver.abort(new Error("gone"));
  await expect(second).rejects.toThrow("gone");
  resolve(true);
  await trial;
  expect(hasTried).toBe(false);
});
