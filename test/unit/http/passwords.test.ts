/** How often passwords are really checked, and that no client can cause more checks. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compare, hash } from "bcrypt";
import { beforeEach, describe, expect, onTestFinished, test, vi, type Mock } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { Passwords } from "../../../src/http/passwords.ts";

type Compare = (password: string, encrypted: string) => Promise<boolean>;

let underWay = 0;
let most = 0;

vi.mock("bcrypt", { spy: true });

beforeEach(async () => {
  [underWay, most] = [0, 0];
  const { compare: real } = await vi.importActual<{ compare: Compare }>("bcrypt");
  // Of its two forms the one that is called.
  const spied = compare as unknown as Mock<Compare>;
  spied.mockReset();
  spied.mockImplementation(async (password, encrypted) => {
    underWay += 1;
    most = Math.max(most, underWay);
    const isRight = await real(password, encrypted);
    underWay -= 1;
    return isRight;
  });
});

function fileWith(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "hubcap-passwords-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "htpasswd");
  writeFileSync(path, text);
  return path;
}

async function open(text?: string): Promise<Passwords> {
  const lines =
    text ?? `alice:${await hash("right", 4)}\nbob:${(await hash("his", 4)).replace("$2b$", "$2y$")}\n`;
  const passwords = await Passwords.open(fileWith(lines), { clock: systemClock, failed: () => {} });
  onTestFinished(() => passwords.close());
  return passwords;
}

describe("a password", () => {
  test("is right for its user alone, by either letter of the algorithm", async () => {
    const passwords = await open();
    expect(await passwords.isRight("alice", "right", "a")).toBe(true);
    expect(await passwords.isRight("bob", "his", "a")).toBe(true);
    for (const [user, password] of [
      ["alice", "his"],
      ["alice", ""],
      ["carol", "right"],
      ["", "right"],
      ["__proto__", "right"],
    ] as const) {
      expect(await passwords.isRight(user, password, "a")).toBe(false);
    }
  });

  test("is checked once, however often it is shown, right or wrong", async () => {
    const passwords = await open();
    for (const password of ["right", "wrong"]) {
      vi.mocked(compare).mockClear();
      const many = Array.from({ length: 100 }, () => passwords.isRight("alice", password, "a"));
      expect(new Set(await Promise.all(many))).toEqual(new Set([password === "right"]));
      expect(await passwords.isRight("alice", password, "b")).toBe(password === "right");
      expect(compare).toHaveBeenCalledTimes(1);
    }
  });

  test("of an unknown user takes a check as well", async () => {
    const passwords = await open();
    await passwords.isRight("carol", "x", "a");
    expect(compare).toHaveBeenCalledTimes(1);
  });

  test("that bcrypt would not read to its end is wrong", async () => {
    const long = "x".repeat(72);
    const passwords = await open(`alice:${await hash(long, 4)}\n`);
    expect(await passwords.isRight("alice", long, "a")).toBe(true);
    expect(await passwords.isRight("alice", `${long}y`, "a")).toBe(false);
    expect(await passwords.isRight("alice", `${long.slice(1)}\0`, "a")).toBe(false);
  });

  test("is one of two that are checked at once, and one address waits with four", async () => {
    const passwords = await open();
    const guesses = Array.from({ length: 20 }, (_, n) =>
      passwords.isRight("alice", `guess ${n}`, "one address"),
    );
    const others = ["a", "b", "c"].map((address) => passwords.isRight("alice", "right", address));
    const settled = await Promise.allSettled(guesses);
    expect(settled.filter(({ status }) => status === "fulfilled").length).toBe(4);
    expect(await Promise.all(others)).toEqual([true, true, true]);
    expect(most).toBe(2);
    // Nothing of that stays behind.
    expect(await passwords.isRight("alice", "guess again", "one address")).toBe(false);
  });

  test("waits with sixty-six others at most, wherever they are from", async () => {
    const passwords = await open();
    const all = Array.from({ length: 200 }, (_, n) =>
      passwords.isRight("alice", `guess ${n}`, `address ${n}`),
    );
    const settled = await Promise.allSettled(all);
    expect(settled.filter(({ status }) => status === "fulfilled").length).toBe(66);
  });
});

test.each([
  ["MD5", "alice:$apr1$x$y", 1],
  ["SHA", "# users\n\nalice:{SHA}x", 3],
  ["crypt", "alice:abcdefghijklm", 1],
  ["the password itself", "alice:secret-of-alice", 1],
  ["no user", `:$2b$04$${"a".repeat(53)}`, 1],
  ["too dear a cost", `alice:$2b$15$${"a".repeat(53)}`, 1],
  ["half a hash", `alice:$2b$10$${"a".repeat(20)}`, 1],
])("a line with %s is refused by its number, without being quoted", async (_, text, line) => {
  const opening = open(text);
  await expect(opening).rejects.toThrow(`line ${line} is not user:hash with bcrypt`);
  await expect(opening).rejects.not.toThrow("alice");
});
