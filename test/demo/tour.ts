/** The demo's course: every degradation step, from a cold start until all pulls are back. */
import { stateMeanings } from "../../src/quota/snapshot.ts";
import { bytesText } from "../../src/async/text.ts";
import type { Hub } from "../support/hub.ts";
import { Setup, startDemoHubcap, type Numbers } from "./cluster.ts";

export interface TourOptions {
  readonly hub: Hub;
  /** Waits between the steps and slow downloads, so that one can watch. */
  readonly isWatched: boolean;
  /** Called with each line for people. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

const nodes = ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6", "node-7", "node-8"];
/** More than the limit pays for. */
const mostImages = 40;

/** Shows everything, and gives the sums of it. Nothing is left running or lying about, however it ends. */
export async function tour(options: TourOptions): Promise<Numbers> {
  const hubcap = await startDemoHubcap(options.hub);
  try {
    const setup = new Setup(options.hub, hubcap, options.signal);
    const guide = new Guide(setup, options);
    options.say(`Watch it here: ${hubcap.statusUrl}/\n`);
    await guide.cold();
    await guide.hits();
    const last = await guide.spend();
    await guide.exhausted(last);
    await guide.refill(last);
    return await setup.numbers();
  } finally {
    await hubcap.dispose();
  }
}

class Guide {
  readonly #setup: Setup;
  readonly #options: TourOptions;
  readonly #started = performance.now();

  constructor(setup: Setup, options: TourOptions) {
    this.#setup = setup;
    this.#options = options;
  }

  /** Many nodes, one image that no node has. */
  async cold(): Promise<void> {
    const { isWatched } = this.#options;
    await this.#watch(4);
    await this.#setup.push("shop/web", isWatched ? 4_000_000 : 200_000);
    this.#say(`COLD HERD: ${nodes.length} nodes pull shop/web:1 at the same moment. Hubcap has nothing yet.`);
    if (isWatched) this.#say("  The stand-in sends slowly here, so that one sees the downloads on the page.");
    const drip = isWatched && this.#setup.hub.fault({ origin: "cdn", kind: "drip", bytesPerSecond: 700_000 });
    await this.#herd("shop/web");
    if (drip) drip.remove();
    await this.#tell("  All have it. It was fetched once: an index and one platform's manifest are 2 pulls.");
    await this.#watch(6);
  }

  /** The same again, which costs nothing. */
  async hits(): Promise<void> {
    this.#say(`HITS: the same ${nodes.length} nodes pull it again, twice.`);
    await this.#herd("shop/web");
    await this.#watch(2);
    await this.#herd("shop/web");
    await this.#tell("  Served from disk. The tag was checked with HEAD requests, which are free.");
    await this.#watch(5);
  }

  /** New images until nothing is left; gives the name of the next one. */
  async spend(): Promise<string> {
    this.#say("ROLLOUT: new images, one after the other, 2 pulls each.");
    let { state } = await this.#setup.quota();
    for (let count = 1; count < mostImages; count += 1) {
      const name = `shop/service-${count}`;
      await this.#setup.push(name, 400_000);
      const quota = await this.#setup.quota();
      if (quota.state !== state) {
        state = quota.state;
        await this.#tell(`  ${state.toUpperCase()}: ${stateMeanings[state]}.`);
        if (state === "exhausted") return name;
        await this.#watch(3);
      }
      for (const node of [nodes[count % 8], nodes[(count + 3) % 8]]) await this.#setup.pull(node ?? "", name);
      await this.#watch(1);
    }
    throw new Error("the pulls did not run out: this machine is too slow for so short a window");
  }

  /** What happens while nothing is left. */
  async exhausted(last: string): Promise<void> {
    this.#say(`REFUSED: node-3 pulls ${last}:1, which is not held.`);
    const { errors } = await this.#setup.pull("node-3", last);
    this.#say(`  node-3 gets: ${reasonIn(errors[0] ?? "nothing")}`);
    await this.#watch(4);
    this.#say(`STALE: all ${nodes.length} nodes pull shop/web:1, which is held but cannot be checked now.`);
    const results = await this.#herd("shop/web");
    await this.#tell("  All have it. Nothing was spent, and each answer says that it was not checked:");
    this.#say(`  Warning: ${[...(results[0]?.warnings ?? ["none"])].join()}`);
  }

  /** The window rolls on: pulls come back one by one. */
  async refill(last: string): Promise<void> {
    const { nextFreeAt, fullAt } = await this.#setup.quota();
    this.#say(`REFILL: a pull comes back one window after it was spent. node-3 waits for the first ones.`);
    await this.#until(nextFreeAt);
    for (;;) {
      const { errors, retryAfters } = await this.#setup.pull("node-3", last);
      if (errors.length === 0) break;
      await this.#setup.pause(Number(retryAfters.at(-1) ?? 1));
    }
    await this.#tell(`  node-3 has ${last}:1 now.`);
    await this.#until(fullAt);
    await this.#tell("  What was spent before is back.");
    await this.#watch(3);
  }

  async #herd(name: string) {
    return Promise.all(nodes.map((node) => this.#setup.pull(node, name)));
  }

  async #until(time: string | null): Promise<void> {
    if (time !== null) await this.#setup.pause(Math.max(0, (Date.parse(time) - Date.now()) / 1000));
  }

  async #watch(seconds: number): Promise<void> {
    if (this.#options.isWatched) await this.#setup.pause(seconds);
  }

  /** A line, with how things stand. */
  async #tell(line: string): Promise<void> {
    const { remaining, limit } = await this.#setup.quota();
    const { counted, fetched, served } = await this.#setup.numbers();
    this.#say(line);
    this.#say(
      `  ${remaining} of ${limit} pulls are left. So far: ${counted} pulls spent, ${bytesText(fetched)} fetched, ` +
        `${bytesText(served)} served.`,
    );
  }

  #say(line: string): void {
    const seconds = Math.round((performance.now() - this.#started) / 1000);
    this.#options.say(`${String(seconds).padStart(4)} s  ${line}`);
  }
}

/** The sentence within what a client prints. */
function reasonIn(error: string): string {
  const [, reason = error] = /"message":"([^"]+)/.exec(error) ?? [];
  return reason;
}

/** The closing lines. What the stand-in counted is its own word, so that one can hold both against each other. */
export function summary(numbers: Numbers, hub: Hub): readonly string[] {
  const { asked, counted, fetched, served, refused, stale, failed } = numbers;
  const times = fetched > 0 ? (served / fetched).toFixed(1) : "0";
  return [
    "In numbers:",
    `  ${asked} images were pulled by nodes, each worth 2 pulls: ${asked * 2} without a cache.`,
    `  ${counted} pulls were spent, by Hubcap's count; ${hub.counts.charged.total} by the stand-in's own.`,
    `  ${bytesText(fetched)} came from upstream, ${bytesText(served)} were served: ${times} times as much.`,
    `  ${stale} images were served stale, ${refused} refused by Hubcap${failed > 0 ? `, ${failed} failed` : ""}.`,
    `  ${limited(hub)} requests ran into the stand-in's limit.`,
  ];
}

/** How often the stand-in itself had to say 429. */
export function limited(hub: Hub): number {
  return hub.counts.requests.filter(({ status }) => status === 429).length;
}
