/** The event stream, and what a client that reads slowly costs. */
import { afterEach, expect, test, vi } from "vitest";
import { Backlog } from "../../../src/http/backlog.ts";
import { handlerOf } from "../../../src/http/status.ts";
import { listen } from "../../../src/http/listen.ts";
import type { QuotaError } from "../../../src/quota/quota.ts";
import { openReply } from "../../support/ask.ts";
import { openApiHouse, start, type ApiHouse } from "./apiServer.ts";

afterEach(() => void vi.useRealTimers());

/** A client of the stream: gives what came since the last time, as soon as something has. */
async function listenTo({ api }: ApiHouse) {
  const response = await api.request("/quota/events");
  expect(response.headers.get("Content-Type")).toBe("text/event-stream");
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  return {
    read: async () => decoder.decode((await reader?.read())?.value),
    leave: async () => reader?.cancel(),
  };
}

/** Asks for a pull that a rehearsal forbids. */
async function beRefused({ buckets }: ApiHouse, times: number): Promise<void> {
  const errand = {
    kind: "manifest-get",
    repository: { upstream: "docker.io", name: "library/nginx" as never },
    purpose: { reason: "pull", client: "node-1", userAgent: "test" },
  } as const;
  for (let time = 0; time < times; time += 1) {
    await buckets
      .get("docker.io")
      ?.take(errand)
      .catch((error: QuotaError) => error);
  }
}

test("begins with where every upstream stands, and tells refusals and steps of the ladder", async () => {
  const house = await openApiHouse();
  const { read, leave } = await listenTo(house);
  expect(await read()).toMatch(/^event: sample\ndata: \{"name":"docker.io",.*\}\n\n$/);
  expect(await read()).toMatch(/^event: sample\ndata: \{"name":"ghcr.io",.*\}\n\n$/);
  house.buckets.get("docker.io")?.rehearse("empty", start + 3_600_000);
  expect(await read()).toBe(
    'event: state\ndata: {"at":"2026-03-04T05:06:07.000Z","upstream":"docker.io","from":"ok","to":"exhausted"}\n\n',
  );
  await beRefused(house, 1);
  expect(await read()).toMatch(
    /^event: refused\ndata: \{.*"kind":"exhausted","reason":"pull","client":"node-1","repository":"library\/nginx"/,
  );
  await house.buckets.get("ghcr.io")?.maintain();
  expect(await read()).toMatch(/^event: sample\ndata: \{"name":"ghcr.io"/);
  await leave();
});

test("sends a comment when nothing happens, so that no proxy thinks it dead", async () => {
  const house = await openApiHouse();
  vi.useFakeTimers();
  const { read, leave } = await listenTo(house);
  await read();
  await read();
  const next = read();
  await vi.advanceTimersByTimeAsync(15_000);
  expect(await next).toBe(":\n\n");
  await leave();
});

/** Counts who listens to docker.io. */
function countListeners({ buckets }: ApiHouse): () => number {
  const bucket = buckets.get("docker.io");
  if (!bucket) throw new Error("there is no docker.io");
  let listening = 0;
  const on = bucket.on.bind(bucket);
  vi.spyOn(bucket, "on").mockImplementation((listener) => {
    const stop = on(listener);
    listening += 1;
    return () => {
      listening -= 1;
      stop();
    };
  });
  return () => listening;
}

test("is forgotten when its client's connection breaks", async () => {
  const house = await openApiHouse();
  const listening = countListeners(house);
  const listener = await listen(
    handlerOf(house.api),
    { host: "127.0.0.1", port: 0 },
    {
      connections: 100,
      perAddress: 100,
      stallMs: 60_000,
      reached: () => {},
    },
  );
  const responses = await Promise.all([1, 2, 3].map(() => openReply(`${listener.url}/quota/events`)));
  expect(listening()).toBe(3);
  for (const response of responses) {
    response.on("error", () => {});
    response.destroy();
  }
  await expect.poll(listening).toBe(0);
  await listener.close(0);
});

test("tells a client that read too slowly how much it has missed", async () => {
  const house = await openApiHouse();
  house.buckets.get("docker.io")?.rehearse("empty", start + 3_600_000);
  const { read, leave } = await listenTo(house);
  await read();
  await read();
  await beRefused(house, 1000);
  const told: string[] = [];
  while (!told.at(-1)?.startsWith("event: missed")) told.push(await read());
  const count = Number(/"count":(\d+)/.exec(told.at(-1) ?? "")?.[1]);
  const before = told.length - 1;
  // What it had been handed before it stopped reading, what was dropped, and what was kept.
  expect(before + count + 256).toBe(1000);
  for (let kept = 0; kept < 256; kept += 1) expect(await read()).toMatch(/^event: refused/);
  await leave();
});

test("a backlog keeps the last and counts the rest", async () => {
  const backlog = new Backlog<number>(3);
  for (const item of [1, 2, 3, 4, 5]) backlog.push(item);
  expect(await backlog.next(0)).toEqual({ items: [3, 4, 5], missed: 2 });
  expect(await backlog.next(0)).toEqual({ items: [], missed: 0 });
  const next = backlog.next(60_000);
  backlog.push(6);
  expect(await next).toEqual({ items: [6], missed: 0 });
  const idle = backlog.next(60_000);
  backlog.wake();
  expect(await idle).toEqual({ items: [], missed: 0 });
});
