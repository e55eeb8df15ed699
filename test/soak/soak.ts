/** The soak: half of the clients are hostile, and the other half must not notice. */
import { Agent } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ask } from "../support/ask.ts";
import { Child } from "../support/child.ts";
import { startHubcap, type Hubcap } from "../support/hubcap.ts";
import { startHubProcess, type HubProcess } from "../support/hubProcess.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { capacity, held, large, otherHost, push, stock } from "./goods.ts";
import type { Goods } from "./hostile.ts";
import { Random } from "./random.ts";

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  /** What 99 of 100 hits must be answered within, in ms. */
  readonly p99Ms: number;
  readonly say: (line: string) => void;
}

/** Of each kind. */
const clients = 32;

/** How much more there may be at the end than before. */
const moreBytes = 200_000_000;
const moreFiles = 200;

/** For how long Hubcap may close and free what the hostile clients have left, in ms. */
const settleMs = 120_000;

/** What the well-behaved clients have seen since the last line. */
class Tally {
  pulls = 0;
  cold = 0;
  readonly hits: number[] = [];
  readonly failures: string[] = [];
}

/** Runs it, says one line each minute, and gives what did not hold. */
export async function soak(options: SoakOptions): Promise<readonly string[]> {
  options.say(
    `seed ${options.seed}, ${options.minutes} minutes, ${clients} hostile clients and ${clients} others`,
  );
  const hub = await startHubProcess("--limit", "100000");
  try {
    const upstream = {
      url: hub.addresses.registry,
      tokenRealms: [hub.addresses.token],
      allowPrivateAddresses: true,
    };
    const hubcap = await startHubcap({
      config: {
        upstreams: { "docker.io": upstream, [otherHost]: upstream },
        storage: { capacity },
        log: { level: "error" },
      },
    });
    try {
      return await run(options, hub, hubcap);
    } finally {
      await hubcap.dispose();
    }
  } finally {
    await hub.stop();
  }
}

async function run(options: SoakOptions, hub: HubProcess, hubcap: Hubcap): Promise<readonly string[]> {
  const { minutes, seed, p99Ms, say } = options;
  const digests = await stock(hub);
  const layers: [string, string][] = [];
  for (const repository of [...held, ...large]) {
    const { digests: got, errors } = await pullLikeContainerd({
      mirror: hubcap.url,
      ns: "docker.io",
      repository,
      reference: "1",
    });
    if (errors.length > 0) throw new Error(`before the soak: ${errors.join("; ")}`);
    layers.push([repository, got.at(-1) ?? ""]);
  }
  const files = await hubcap.openFiles();
  const bytes = await hubcap.residentBytes();
  say(`before: ${report(bytes, files)}`);

  const goods: Goods = { digests: [...digests], layers };
  const hostile = new Child(
    [
      fileURLToPath(new URL("hostile.ts", import.meta.url)),
      hubcap.url,
      String(seed),
      String(clients),
      JSON.stringify(goods),
    ],
    process.env,
  );
  const ending = new AbortController();
  const all = new Tally();
  const others = Array.from({ length: clients }, (_, number) =>
    behave(number, new Random(seed * 1000 + 500 + number), {
      hub,
      hubcap,
      digests,
      all,
      signal: ending.signal,
    }),
  );
  for (let minute = 1, seen = { pulls: 0, hits: 0, failures: 0 }; minute <= minutes; minute += 1) {
    await wait(60_000);
    const hits = all.hits.slice(seen.hits);
    say(
      `minute ${minute}: ${all.pulls - seen.pulls} pulls (${all.cold} cold so far), ${all.failures.length - seen.failures} failed; ` +
        `hits p99 ${p99(hits)} ms; longest turn ${await longestTurn(hubcap)} ms; ${report(await hubcap.residentBytes(), await hubcap.openFiles())}`,
    );
    seen = { pulls: all.pulls, hits: all.hits.length, failures: all.failures.length };
  }
  ending.abort();
  hostile.kill("SIGTERM");
  await Promise.all([...others, hostile.exit]);
  if (hostile.errors !== "") throw new Error(hostile.errors);
  say(`the hostile clients sent ${hostile.lines.at(-1)} requests`);
  return [
    ...all.failures,
    ...(p99(all.hits) > p99Ms ? [`99 of 100 hits took up to ${p99(all.hits)} ms, more than ${p99Ms}`] : []),
    ...(await settle(hubcap, bytes + moreBytes, files + moreFiles, say)),
  ];
}

interface Surroundings {
  readonly hub: HubProcess;
  readonly hubcap: Hubcap;
  readonly digests: ReadonlyMap<string, string>;
  readonly all: Tally;
  readonly signal: AbortSignal;
}

/** A well-behaved client: hits, tags and digests, lists, and now and then an image that no one has pulled yet. */
async function behave(number: number, random: Random, around: Surroundings): Promise<void> {
  const { hub, hubcap, digests, all, signal } = around;
  const from = `127.0.2.${number + 1}`;
  const headers = { "x-hubcap-node": `node-${number}` };
  const agent = new Agent({ keepAlive: true, localAddress: from });
  const pull = async (repository: string, reference: string, ns: string): Promise<void> => {
    all.pulls += 1;
    const { errors } = await pullLikeContainerd({
      mirror: hubcap.url,
      repository,
      reference,
      ns,
      headers,
      from,
      attempts: 1,
    });
    if (errors.length === 0) return;
    // A HEAD does not say why.
    const url = `${hubcap.url}/v2/${repository}/manifests/${reference}?ns=${ns}`;
    const { body } = await ask(url, { agent, headers }).catch((error: unknown) => ({ body: String(error) }));
    const why = body.toString().slice(0, 300);
    all.failures.push(...errors.map((error) => `${repository}@${reference} of ${ns}: ${error}; then ${why}`));
  };
  const hit = async (path: string, isTimed: boolean): Promise<void> => {
    const start = performance.now();
    const reply = await ask(`${hubcap.url}${path}?ns=docker.io`, {
      agent,
      headers,
      headerTimeout: 60_000,
    }).catch((error: unknown) => ({ status: 0, body: String(error) }));
    if (isTimed) all.hits.push(performance.now() - start);
    if (reply.status !== 200) all.failures.push(`${path}: ${reply.status} ${reply.body.toString()}`);
  };
  try {
    for (let round = 0; !signal.aborted; round += 1) {
      const repository = random.pick(held);
      const digest = digests.get(repository) ?? "";
      const chance = random.next();
      if (chance < 0.015) {
        all.cold += 1;
        const fresh = `library/new-${number}-${round}`;
        const root = await push(hub, fresh);
        await pull(fresh, random.pick(["1", root]), random.pick(["docker.io", "docker.io", otherHost]));
      } else if (chance < 0.1) await hit(`/v2/${repository}/tags/list`, false);
      else if (chance < 0.4) await pull(repository, random.pick(["1", digest]), "docker.io");
      else await hit(`/v2/${repository}/manifests/${digest}`, true);
      await wait(200 + random.below(600), undefined, { signal }).catch(() => {});
    }
  } finally {
    agent.destroy();
  }
}

/** Waits until Hubcap has let go of what the clients have left; gives what it has not let go of. */
async function settle(
  hubcap: Hubcap,
  bytes: number,
  files: number,
  say: SoakOptions["say"],
): Promise<readonly string[]> {
  const end = performance.now() + settleMs;
  for (;;) {
    const now = { bytes: await hubcap.residentBytes(), files: await hubcap.openFiles() };
    const left = [
      ...(now.bytes > bytes
        ? [`${report(now.bytes, now.files)} are left, more than ${report(bytes, files)}`]
        : []),
      ...(now.files > files ? [`${now.files} descriptors are left, more than ${files}`] : []),
    ];
    if (left.length === 0 || performance.now() > end) {
      say(`after: ${report(now.bytes, now.files)}`);
      return left;
    }
    await wait(1000);
  }
}

/** Of the event loop, since this was last asked, in whole ms. */
async function longestTurn(hubcap: Hubcap): Promise<number> {
  return Math.round((await hubcap.metric("nodejs_eventloop_lag_max_seconds")) * 1000);
}

function report(bytes: number, files: number): string {
  return `RSS ${Math.round(bytes / 1e6)} MB, ${files} descriptors`;
}

/** Whole ms. */
function p99(times: readonly number[]): number {
  return Math.round(times.toSorted((one, other) => one - other)[Math.floor(times.length * 0.99)] ?? 0);
}
