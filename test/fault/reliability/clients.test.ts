/** Cases R5, R43 and R44: clients that take nothing, ask for nothing but headers, or leave. */
import { Agent } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { whole, type Reader } from "../../support/reader.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

const mib = 1024 * 1024;

let setup: Setup;
let base: number;
/** Connections that may stay: up to 48 and 16 to each of three origins upstream, and a few of our own questions. */
const kept = 120;

beforeAll(async () => {
  setup = await openSetup({ config: { registry: { stall: "1s" } } });
  const pushed = await setup.pushLayer("library/first", mib);
  await setup.read(pushed).ended;
  base = await setup.connections();
});
afterAll(() => setup.close());

/** No blob is open any more, and no client's connection but those that it keeps for later. */
async function expectNothingLeftOpen(): Promise<void> {
  await expect.poll(() => setup.openBlobs()).toEqual([]);
  await expect.poll(() => setup.connections()).toBeLessThanOrEqual(base + kept);
}

describe("clients", () => {
  it("R5 that take nothing of a blob are cut, and cost no open file", async () => {
    const pushed = await setup.pushLayer("library/stalled", 64 * mib);
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    await setup.held(pushed);
    const idle = Array.from({ length: 10 }, () => setup.read(pushed, { idle: true }));
    await expect.poll(() => setup.openBlobs()).toHaveLength(10);
    const cut = () => setup.pulls(pushed).filter((line) => line["cut"] === true);
    await expect.poll(cut).toHaveLength(10);
    await expectNothingLeftOpen();
    for (const reader of idle) reader.leave();
  });

  it("R43 that send 1000 HEADs of an uncached blob get all headers, nothing is fetched and nothing stays open", async () => {
    const pushed = await setup.pushLayer("library/heads", mib);
    setup.hub.counts.reset();
    await headManyTimes(pushed);
    const gets = setup.hub.counts.requests.filter(({ kind, method }) => kind === "blob" && method === "GET");
    expect(gets).toEqual([]);
    await expectNothingLeftOpen();
  });

  it("R43 that send 1000 HEADs of a held blob leave nothing open either", async () => {
    const pushed = await setup.pushLayer("library/heads-held", mib);
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    await setup.held(pushed);
    await headManyTimes(pushed);
    await expectNothingLeftOpen();
  });

  it("R44 that break off 2000 times, anywhere, leave nothing open and nothing broken", async () => {
    const pushed: Pushed[] = [];
    for (let number = 0; number < 40; number += 1) {
      const one = await setup.pushLayer(`library/left${number}`, mib);
      await setup.name(one);
      pushed.push(one);
    }
    // Slow enough that many leave while a blob is still on its way in.
    const slow = setup.hub.fault({ origin: "cdn", asks: "blob", kind: "drip", bytesPerSecond: 0.4 * mib });
    const random = generator(44);
    let left = 0;
    const leaveAgainAndAgain = async (): Promise<void> => {
      while (left < 2000) {
        left += 1;
        const one = pushed[Math.floor(random() * pushed.length)];
        if (one !== undefined) await leaver(one, random()).ended;
      }
    };
    await Promise.all(Array.from({ length: 50 }, leaveAgainAndAgain));
    slow.remove();
    const outcomes = new Set(pushed.flatMap((one) => setup.pulls(one).map((line) => line["outcome"])));
    expect([...outcomes]).toEqual(expect.arrayContaining(["miss", "join", "hit"]));

    for (const one of pushed) await setup.held(one);
    await expectNothingLeftOpen();
    for (const one of pushed) expect(await setup.read(one).ended).toEqual(whole(one.bytes));
    // Node ends a process for a rejection that is not handled, and says so.
    expect(setup.hubcap.errors).toBe("");
  });
});

async function headManyTimes(pushed: Pushed): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  const url = setup.blobUrl(pushed);
  const replies = await Promise.all(Array.from({ length: 1000 }, () => ask(url, { method: "HEAD", agent })));
  agent.destroy();
  const heads = replies.map(({ status, headers }) => ({
    status,
    size: headers["content-length"],
    digest: headers["docker-content-digest"],
  }));
  const { digest, size } = pushed.layer;
  expect(heads).toEqual(heads.map(() => ({ status: 200, size: String(size), digest })));
}

/** A client that leaves at `where` (0 to 1) of the blob, or of its first headers. */
function leaver(pushed: Pushed, where: number): Reader {
  if (where > 0.9) {
    const reader = setup.read(pushed);
    setImmediate(() => reader.leave());
    return reader;
  }
  return setup.read(pushed, { leaveAt: Math.ceil(where * pushed.bytes.length) });
}

/** The same numbers from 0 to 1 every time (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
