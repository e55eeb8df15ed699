/** Jobs: what is tried, what is not asked again, what waits, and what the next process knows of it. */
import { expect, test } from "vitest";
import { TooManyJobsError, Warmer, type WarmerOptions } from "../../../src/mirror/warm.ts";
import { NoSpaceError, WarmError } from "../../../src/mirror/warmError.ts";
import type { WarmRun, WantedImage } from "../../../src/mirror/warmImage.ts";
import type { WarmJob, WarmOrder } from "../../../src/mirror/warmJob.ts";
import { RegistryError } from "../../../src/oci/error.ts";
import { parseImage, referenceOf } from "../../../src/oci/image.ts";
import { formatImage } from "../../../src/oci/reference.ts";
import type { BucketState } from "../../../src/quota/snapshot.ts";
import { UpstreamError } from "../../../src/upstream/error.ts";

const routing = { upstreams: new Set(["docker.io", "ghcr.io"]), defaultUpstream: "docker.io" };

function order(images: readonly string[], more: Partial<WarmOrder> = {}): WarmOrder {
  const found = images.map((text) => {
    const image = parseImage(text, routing);
    return { repository: { upstream: image.upstream, name: image.name }, reference: referenceOf(image) };
  });
  return { origin: "api", name: "", images: found, platforms: [], wait: false, ...more };
}

function limited(retryAfter: number): RegistryError {
  const cause = new UpstreamError("limited", "too little is left", { retryAfter });
  return new RegistryError("TOOMANYREQUESTS", cause.message, { cause, retryAfter });
}

class Table {
  readonly rows = new Map<string, string>();
  async all(): Promise<string[]> {
    return [...this.rows.values()];
  }
  async keep(id: string, _at: number, body: string): Promise<void> {
    this.rows.set(id, body);
  }
  async remove(id: string): Promise<void> {
    this.rows.delete(id);
  }
}

/** A warmer with one turn, a clock, and upstreams that answer `warm`. */
function setUp(warm: (name: string, leave: WarmRun) => Promise<void>, more: Partial<WarmerOptions> = {}) {
  const asked: string[] = [];
  const setup = { now: 0, state: "low" as BucketState, asked, table: new Table(), troubles: [] as unknown[] };
  const warmer = new Warmer({
    images: {
      warm: async ({ repository, reference }: WantedImage, _track, leave) => {
        const name = formatImage(repository, reference).replace("/library", "");
        asked.push(leave.refusal ? `(${name})` : name);
        await warm(name, leave);
      },
    },
    stateOf: () => setup.state,
    table: setup.table,
    concurrency: 1,
    ended: () => {},
    over: () => {},
    trouble: (error) => void setup.troubles.push(error),
    draining: new AbortController().signal,
    now: () => setup.now,
    pause: async (ms, signal) => {
      await new Promise(setImmediate);
      signal.throwIfAborted();
      setup.now += ms;
    },
    ...more,
  });
  return Object.assign(setup, { warmer });
}

async function over(job: WarmJob): Promise<string[]> {
  await expect.poll(() => job.isOver, { interval: 1 }).toBe(true);
  return job.items.map(({ state }) => state);
}

test("what an upstream has said once is not asked again, and other upstreams are asked all the same", async () => {
  const { warmer, asked } = setUp(async (name, { refusal }) => {
    if (name.startsWith("docker.io/b")) throw limited(60);
    if (refusal) throw refusal;
  });
  const job = await warmer.submit(order(["a:1", "b:1", "c:1", "ghcr.io/x/y:1", "a:1"]));
  expect(await over(job)).toEqual(["held", "waiting", "waiting", "held"]);
  expect(asked).toEqual(["docker.io/a:1", "docker.io/b:1", "(docker.io/c:1)", "ghcr.io/x/y:1"]);
  expect(job.items[2]?.setback).toEqual({ state: "waiting", error: "too little is left", retryAt: 60_000 });
});

test("a full store stops all that follows, and other failures only their own image", async () => {
  const { warmer, asked } = setUp(async (name, { refusal }) => {
    if (refusal) throw refusal;
    if (name.includes("/a")) throw new WarmError("it is not there for linux/s390x");
    if (name.includes("/b")) throw new NoSpaceError();
  });
  const job = await warmer.submit(order(["a:1", "b:1", "ghcr.io/x/y:1"]));
  expect(await over(job)).toEqual(["failed", "failed", "failed"]);
  expect(asked.at(-1)).toBe("(ghcr.io/x/y:1)");
  expect(job.items[2]?.setback?.error).toMatch(/^the store is at its high-water mark/);
});

test("what no one expects fails its image, and is reported", async () => {
  const { warmer, troubles } = setUp(() => Promise.reject(new TypeError("oops")));
  const job = await warmer.submit(order(["a:1"]));
  expect(await over(job)).toEqual(["failed"]);
  expect(job.items[0]?.setback?.error).toBe("this is Hubcap's own fault; its log says more");
  expect(troubles).toEqual([new TypeError("oops")]);
});

test("a job that waits goes on at the time that it was given", async () => {
  const here = setUp(async () => {
    if (here.now < 60_000) throw limited(60);
  });
  const job = await here.warmer.submit(order(["a:1"], { wait: true }));
  expect(await over(job)).toEqual(["held"]);
  expect([here.now, here.asked.length]).toEqual([60_000, 2]);
});

test("it goes on earlier when the upstream has more before that", async () => {
  const here = setUp(async () => {
    if (here.state === "low") throw limited(3600);
  });
  const job = await here.warmer.submit(order(["a:1"], { wait: true }));
  await expect.poll(() => here.now, { interval: 1 }).toBeGreaterThanOrEqual(10_000);
  here.state = "ok";
  expect(await over(job)).toEqual(["held"]);
  expect(here.now).toBeLessThan(3_600_000);
});

test("a pause that an upstream asks for is waited for, though it has enough left", async () => {
  const here = setUp(async () => {
    if (here.now < 600_000) throw limited(600);
  });
  here.state = "ok";
  const job = await here.warmer.submit(order(["a:1"], { wait: true }));
  expect(await over(job)).toEqual(["held"]);
  expect(here.asked).toHaveLength(2);
});

test("what the last process did not end is begun anew, and what it ended is remembered", async () => {
  const draining = new AbortController();
  const first = setUp(
    (name, { signal }) =>
      name.includes("/a")
        ? Promise.resolve()
        : new Promise((_, reject) => signal.addEventListener("abort", reject)),
    { draining: draining.signal },
  );
  const ended = await first.warmer.submit(order(["a:1"], { origin: "configuration", name: "lists.0" }));
  await over(ended);
  const begun = await first.warmer.submit(order(["a:2", "b:1"], { wait: true }));
  await expect.poll(() => first.asked.length, { interval: 1 }).toBe(3);
  draining.abort();
  await first.warmer.close();

  const second = setUp(() => Promise.resolve(), { table: first.table });
  await second.warmer.load();
  expect(second.warmer.job(ended.id)).toMatchObject({ state: "done", items: [{ state: "held" }] });
  expect(second.asked).toEqual([]);
  second.warmer.start();
  const again = second.warmer.job(begun.id);
  if (!again) throw new Error("it is forgotten");
  expect(await over(again)).toEqual(["held", "held"]);
  expect(second.asked).toEqual(["docker.io/a:2", "docker.io/b:1"]);
});

test("a row that cannot be read is passed over, and one that cannot be written harms no one", async () => {
  const table = new Table();
  table.rows.set("x", "{");
  const { warmer, troubles } = setUp(() => Promise.resolve(), { table });
  await warmer.load();
  expect(warmer.jobs).toEqual([]);
  expect(troubles).toHaveLength(1);
  table.keep = async () => {
    throw new Error("database or disk is full");
  };
  expect(await over(await warmer.submit(order(["a:1"])))).toEqual(["held"]);
});

test("cancelled, nothing more is begun, and the job is over at once", async () => {
  const { warmer, asked } = setUp(
    (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", reject)),
  );
  const job = await warmer.submit(order(["a:1", "b:1"]));
  await expect.poll(() => asked.length, { interval: 1 }).toBe(1);
  expect(await warmer.cancel(job.id)).toBe(job);
  expect([job.state, ...job.items.map(({ state }) => state)]).toEqual([
    "cancelled",
    "cancelled",
    "cancelled",
  ]);
  await warmer.close();
  expect(asked).toHaveLength(1);
  expect((await warmer.cancel(job.id))?.state).toBe("cancelled");
  expect(await warmer.cancel("nothing")).toBeUndefined();
});

test("so many jobs may be under way, so many are remembered, and of the cluster's only the last", async () => {
  let isOpen = false;
  const { warmer, table } = setUp(() => (isOpen ? Promise.resolve() : new Promise(() => {})));
  const running = await Promise.all(Array.from({ length: 100 }, () => warmer.submit(order(["a:1"]))));
  await expect(warmer.submit(order(["a:1"]))).rejects.toThrow(TooManyJobsError);
  for (const job of running) await warmer.cancel(job.id);
  expect(warmer.jobs).toHaveLength(50);
  expect(table.rows.size).toBe(50);

  isOpen = true;
  const other = setUp(() => Promise.resolve());
  const cluster = { origin: "cluster", name: "cluster" } as const;
  await over(await other.warmer.submit(order(["a:1"])));
  for (let round = 0; round < 3; round += 1) await over(await other.warmer.submit(order(["a:1"], cluster)));
  expect(other.warmer.jobs.map((job) => job.order.origin)).toEqual(["api", "cluster"]);
});
