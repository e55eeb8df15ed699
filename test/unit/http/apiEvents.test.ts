/** The event stream, and what a client that reads slowly costs. */
import { expect, test, vi } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { Backlog } from "../../../src/http/backlog.ts";
import { handlerOf } from "../../../src/http/status.ts";
import { listen } from "../../../src/http/listen.ts";
import type { QuotaError } from "../../../src/quota/quota.ts";
import { openReply } from "../../support/ask.ts";
import { ManualClock } from "../../support/manualClock.ts";
import { openApiSetup, start, type ApiSetup } from "./apiServer.ts";

/** A client of the stream: gives what came since the last time, as soon as something has. */
async function listenTo({ api }: ApiSetup) {
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
async function beRefused({ buckets }: ApiSetup, times: number): Promise<void> {
  const request = {
    kind: "manifest-get",
    repository: { upstream: "docker.io", name: "library/nginx" as never },
    what: "manifest library/nginx:1",
    purpose: { reason: "pull", client: "node-1", payer: "node-1", userAgent: "test" },
  } as const;
  for (let time = 0; time < times; time += 1) {
    await buckets
      .get("docker.io")
      ?.take(request)
      .catch((error: QuotaError) => error);
  }
}

test("begins with the quota of every upstream, and sends refusals and changes of state", async () => {
  const setup = await openApiSetup();
  const { read, leave } = await listenTo(setup);
  expect(await read()).toMatch(/^event: sample\ndata: \{"name":"docker.io",.*\}\n\n$/);
  expect(await read()).toMatch(/^event: sample\ndata: \{"name":"ghcr.io",.*\}\n\n$/);
  setup.buckets.get("docker.io")?.rehearse("empty", start + 3_600_000);
  expect(await read()).toBe(
    'event: state\ndata: {"at":"2026-03-04T05:06:07.000Z","upstream":"docker.io","from":"ok","to":"exhausted"}\n\n',
  );
  await beRefused(setup, 1);
  expect(await read()).toMatch(
    /^event: refused\ndata: \{.*"kind":"exhausted","reason":"pull","client":"node-1","repository":"library\/nginx"/,
  );
  await setup.buckets.get("ghcr.io")?.maintain();
  expect(await read()).toMatch(/^event: sample\ndata: \{"name":"ghcr.io"/);
  await leave();
});

test("sends a comment when nothing happens, so that no proxy cuts the connection", async () => {
  const setup = await openApiSetup();
  const { read, leave } = await listenTo(setup);
  await read();
  await read();
  const next = read();
  await vi.waitUntil(() => setup.clock.waiting > 0);
  await setup.clock.advance(15_000);
  expect(await next).toBe(":\n\n");
  await leave();
});

/** Counts the listeners of docker.io. */
function countListeners({ buckets }: ApiSetup): () => number {
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
  const setup = await openApiSetup();
  const listening = countListeners(setup);
  const listener = await listen(
    handlerOf(setup.api),
    { host: "127.0.0.1", port: 0 },
    {
      connections: 100,
      perAddress: 100,
      stallMs: 60_000,
      reached: () => {},
    },
    systemClock,
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

test("reports to a client that read too slowly how much it has missed", async () => {
  const setup = await openApiSetup();
  setup.buckets.get("docker.io")?.rehearse("empty", start + 3_600_000);
  const { read, leave } = await listenTo(setup);
  await read();
  await read();
  await beRefused(setup, 1000);
  const events: string[] = [];
  while (!events.at(-1)?.startsWith("event: missed")) events.push(await read());
  const count = Number(/"count":(\d+)/.exec(events.at(-1) ?? "")?.[1]);
  const before = events.length - 1;
  // What it had been handed before it stopped reading, what was dropped, and what was kept.
  expect(before + count + 256).toBe(1000);
  for (let kept = 0; kept < 256; kept += 1) expect(await read()).toMatch(/^event: refused/);
  await leave();
});

test("a backlog keeps the last and counts the rest", async () => {
  const clock = new ManualClock();
  const backlog = new Backlog<number>(3, clock);
  for (const item of [1, 2, 3, 4, 5]) backlog.push(item);
  expect(await backlog.next(0)).toEqual({ items: [3, 4, 5], missed: 2 });
  const nothing = backlog.next(1000);
  await clock.advance(1000);
  expect(await nothing).toEqual({ items: [], missed: 0 });
  const next = backlog.next(60_000);
  backlog.push(6);
  expect(await next).toEqual({ items: [6], missed: 0 });
  const idle = backlog.next(60_000);
  backlog.wake();
  expect(await idle).toEqual({ items: [], missed: 0 });
});
