/** What others notice of an attack: how long their hits take, and what the process holds for the attacker. */
import { readdir } from "node:fs/promises";
import { Agent } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { ask } from "./ask.ts";
import type { Hubcap } from "./hubcap.ts";

export interface Noticed {
  /** The 99th percentile of the times of hits, in ms. */
  readonly p99: number;
  /** The most bytes of memory, and the most descriptors, that there were above those before. */
  readonly rssGrowth: number;
  readonly descriptorGrowth: number;
}

/** Runs `attack`, and goes on for `ms` after it, while a well-behaved client does `hit` over and over. @throws what a hit throws. */
export async function underAttack(
  hubcap: Hubcap,
  hit: () => Promise<unknown>,
  attack: () => Promise<unknown>,
  ms = 3000,
): Promise<Noticed> {
  const descriptors = async (): Promise<number> => (await readdir(`/proc/${hubcap.pid}/fd`)).length;
  for (let time = 0; time < 20; time += 1) await hit();
  const before = { rss: await hubcap.residentBytes(), descriptors: await descriptors() };
  const most = { ...before };
  const times: number[] = [];
  const over = new AbortController();
  const running = attack().then(() => pause(ms));
  running.then(
    () => over.abort(),
    () => over.abort(),
  );
  while (!over.signal.aborted) {
    const started = performance.now();
    await hit();
    times.push(performance.now() - started);
    most.rss = Math.max(most.rss, await hubcap.residentBytes());
    most.descriptors = Math.max(most.descriptors, await descriptors());
    await pause(10);
  }
  await running;
  times.sort((a, b) => a - b);
  const noticed = {
    p99: Math.round(times[Math.floor(times.length * 0.99)] ?? 0),
    rssGrowth: most.rss - before.rss,
    descriptorGrowth: most.descriptors - before.descriptors,
  };
  if (process.env["PRINT_ATTACKS"]) process.stdout.write(`${JSON.stringify(noticed)}\n`);
  return noticed;
}

/** What the others may notice at most: ten times what is usual of time, on a machine that is slow. */
export const bearable = { p99: 2500, rssGrowth: 200 * 1024 * 1024, descriptorGrowth: 1000 } as const;

/** A client with an address of its own that asks for `next()` every 20 ms, whatever becomes of it, until it is stopped. */
export function askEvery20Ms(next: () => string): () => Promise<void> {
  const agent = new Agent({ keepAlive: true, localAddress: "127.0.0.66" });
  const over = new AbortController();
  const asked: Promise<unknown>[] = [];
  const asking = (async () => {
    while (!over.signal.aborted) {
      asked.push(ask(next(), { agent }).catch(() => {}));
      await pause(20);
    }
  })();
  return async () => {
    over.abort();
    await asking;
    agent.destroy();
    await Promise.all(asked);
  };
}
