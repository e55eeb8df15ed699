/** Cases R35 and R45: an upstream that comes back is asked again, and a process that stood still breaks nothing. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { patience } from "../../support/patience.ts";
import { whole } from "../../support/reader.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
});
afterAll(() => setup.close());

function status(tag: string): Promise<number> {
  return setup.manifest("library/app", tag).then(({ status }) => status);
}

test("R35: an upstream that is down is not asked, and whatever it answers next, 404 too, says that it is back", async () => {
  await setup.push("library/app");
  setup.hub.fault({ kind: "status", status: 500, origin: "registry" });
  for (let failure = 0; failure < 5; failure += 1) expect(await status(`broken-${failure}`)).toBe(503);
  setup.hub.counts.reset();
  expect(await status("refused")).toBe(503);
  expect(setup.hub.counts.requests).toEqual([]);
  setup.hub.faults.clear();
  expect(await status("1")).toBe(503);
  await setup.advance(5000);
  expect(await status("no-such-tag")).toBe(404);
  expect(await status("1")).toBe(200);
});

test("R35: after it has worked too, an upstream that answers 503 to all is known to be down after some requests", async () => {
  const { hub } = setup;
  await setup.push("library/worked");
  expect((await setup.manifest("library/worked", "1")).status).toBe(200);
  hub.fault({ kind: "status", status: 503 });
  for (let failure = 0; failure < 5; failure += 1) expect(await status(`down-${failure}`)).toBe(503);
  let number = 0;
  await expect
    .poll(async () => {
      hub.counts.reset();
      expect(await status(`still-${number++}`)).toBe(503);
      return hub.counts.requests.length;
    }, patience)
    .toBe(0);
  // Requests of our own alone find out that it is back, and what held is served meanwhile.
  expect((await setup.manifest("library/worked", "1")).status).toBe(200);
  await setup.advance(5000);
  expect(await status("loud")).toBe(503);
  expect(hub.counts.requests.map(({ kind }) => kind)).toEqual(["ping"]);
  hub.faults.clear();
  await setup.advance(5000);
  expect(await status("no-such-tag")).toBe(404);
});

test("R45: a process that stands still for 2 s in the middle of downloads cuts no client and asks for nothing twice", async () => {
  const pushed = await setup.pushLayer("library/stood-still", 64 * 1024 * 1024);
  setup.hub.fault({ kind: "drip", bytesPerSecond: 16 * 1024 * 1024, digest: pushed.layer.digest });
  setup.hub.counts.reset();
  const readers = Array.from({ length: 5 }, () => setup.read(pushed));
  await Promise.all(readers.map((reader) => reader.reached(4 * 1024 * 1024)));
  process.kill(setup.hubcap.pid, "SIGSTOP");
  await wait(2000);
  process.kill(setup.hubcap.pid, "SIGCONT");
  const live = await fetch(`${setup.hubcap.statusUrl}/livez`);
  expect(live.status).toBe(200);
  for (const { ended } of readers) expect(await ended).toEqual(whole(pushed.bytes));
  const gets = setup.hub.counts.requests.filter(({ origin, method }) => origin === "cdn" && method === "GET");
  expect(gets.length).toBeLessThanOrEqual(1);
});
