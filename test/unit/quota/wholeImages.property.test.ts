/** What is left of a limit brings as many whole images as one could bring who knows what each costs, but not what comes next. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { openBucket, type QuotaBucket } from "../../../src/quota/bucket.ts";
import { QuotaError, type ImagePart, type QuotaRequest, type Reason } from "../../../src/quota/quota.ts";
import { parseDigest, type Digest } from "../../../src/oci/digest.ts";
import { FakeLedger } from "../../support/fakeLedger.ts";
import { ManualClock } from "../../support/manualClock.ts";
import { requestOf } from "./world.ts";

const account = { reserve: 0.1, low: 0.3 };

const urgency = { pull: 0, revalidate: 1, warm: 2 } as const;

/** An image of up to three manifests: an index, the signature on it, a platform's. */
interface Image {
  readonly name: number;
  readonly cost: number;
  readonly reason: Reason;
}

/** A request that the upstream has not answered yet. */
interface Flight {
  readonly image: Image;
  readonly end: (how: "answered" | "lost" | "broken") => void;
}

class World {
  readonly limit: number;
  /** What the upstream has counted. */
  counted = 0;
  readonly whole = new Set<number>();
  readonly flights: Flight[] = [];
  readonly pulls: Promise<void>[] = [];
  readonly oracle: Oracle;
  readonly #ledger = new FakeLedger();
  readonly #clock = new ManualClock();
  #bucket: Promise<QuotaBucket>;
  #crashed = Promise.withResolvers<"crash">();

  constructor(limit: number) {
    this.limit = limit;
    this.oracle = new Oracle(limit);
    this.#bucket = this.#open();
  }

  /** A client comes for `image`. */
  arrive(image: Image): void {
    this.oracle.arrive(image);
    this.pulls.push(this.#pull(image));
  }

  /** The process is killed, and with it what was under way; of that the upstream may have counted some. */
  async crash(isCounted: (index: number) => boolean): Promise<void> {
    // Their clients come again at the same time, so the more urgent ones go first.
    const urgentFirst = this.flights.toSorted((a, b) => urgency[a.image.reason] - urgency[b.image.reason]);
    for (const [index, flight] of urgentFirst.entries()) this.#lose(flight, isCounted(index), "lost");
    this.#crashed.resolve("crash");
    this.#crashed = Promise.withResolvers();
    this.#bucket = this.#open();
    await soon();
  }

  answer({ image, end }: Flight): void {
    this.counted += 1;
    this.oracle.spend(image);
    end("answered");
  }

  /** The connection breaks before the answer. */
  break(flight: Flight, isCounted: boolean): void {
    this.#lose(flight, isCounted, "broken");
  }

  /** Answers all that is under way, and lets who still waits wait in vain. */
  async finish(): Promise<void> {
    for (;;) {
      await soon();
      for (const flight of this.flights.slice()) this.answer(flight);
      await soon();
      if (this.flights.length > 0) continue;
      await this.#clock.advance(20_000);
      if (this.flights.length === 0) break;
    }
    await Promise.all(this.pulls);
  }

  #lose(flight: Flight, isCounted: boolean, how: "lost" | "broken"): void {
    if (isCounted) this.counted += 1;
    // Whether it was counted, or may be yet, nobody here knows.
    this.oracle.lose(flight.image);
    flight.end(how);
  }

  #open(): Promise<QuotaBucket> {
    return openBucket({
      upstream: "docker.io",
      quota: { limit: this.limit, windowMs: 6 * 60 * 60 * 1000 },
      ...account,
      maxWaitMs: 15_000,
      concurrency: 1000,
      ledger: this.#ledger,
      clock: this.#clock,
    });
  }

  async #pull(image: Image): Promise<void> {
    const root = digestOf(image.name * 10);
    for (let part = 0; part < image.cost; part += 1) {
      const digest = digestOf(image.name * 10 + part);
      const manifest: ImagePart =
        part === 0 ? { digest, rest: image.cost - 1, partOf: [] } : { digest, rest: 0, partOf: [root] };
      if (!(await this.#get(image, manifest))) return;
    }
    this.whole.add(image.name);
  }

  /** False when it is refused. */
  async #get(image: Image, part: ImagePart): Promise<boolean> {
    const { purpose, ...rest } = requestOf("manifest-get", image.reason, `node-${image.name}`);
    const request: QuotaRequest = { ...rest, purpose: { ...purpose, image: part } };
    for (;;) {
      const bucket = await this.#bucket;
      const crashed = this.#crashed.promise;
      try {
        // Costs nothing, and says what is left.
        const head = await bucket.take({ ...request, kind: "manifest-head" });
        head.answered({ status: 200, headers: this.#headers() });
        const permit = await Promise.race([bucket.take(request), crashed]);
        if (permit === "crash") continue;
        const { promise, resolve } = Promise.withResolvers<string>();
        const flight: Flight = {
          image,
          end: (how) => {
            this.flights.splice(this.flights.indexOf(flight), 1);
            if (how === "answered") permit.answered({ status: 200, headers: this.#headers() });
            if (how === "broken") permit.failed();
            resolve(how);
          },
        };
        this.flights.push(flight);
        if ((await promise) === "answered") return true;
      } catch (error) {
        if (error instanceof QuotaError) return false;
        throw error;
      }
    }
  }

  #headers(): Record<string, string> {
    const { limit, counted } = this;
    return {
      "ratelimit-limit": `${limit};w=21600`,
      "ratelimit-remaining": `${Math.max(0, limit - counted)};w=21600`,
    };
  }
}

/** Has the same arrivals in the same order, and knows at once what each takes. */
class Oracle {
  readonly #limit: number;
  #left: number;
  readonly #begun = new Set<number>();
  readonly #spent = new Map<number, number>();
  /** Images for which a pull was spent in vain that cannot be spent again. */
  givenUp = 0;

  constructor(limit: number) {
    this.#limit = limit;
    this.#left = limit;
  }

  get whole(): number {
    return this.#begun.size;
  }

  arrive({ name, cost, reason }: Image): void {
    if (this.#leftFor(reason) < cost) return;
    this.#left -= cost;
    this.#begun.add(name);
  }

  #leftFor(reason: Reason): number {
    const share = { pull: 0, revalidate: account.reserve, warm: account.low }[reason];
    return this.#left - Math.ceil(this.#limit * share);
  }

  /** A pull for `image` has brought a manifest. */
  spend({ name }: Image): void {
    if (this.#begun.has(name)) this.#spent.set(name, (this.#spent.get(name) ?? 0) + 1);
    else this.#left -= 1;
  }

  /** One was spent in vain. Without another, the image is given up, and the rest of it is for others. */
  lose({ name, cost, reason }: Image): void {
    if (this.#begun.has(name) && this.#leftFor(reason) < 1) {
      this.#begun.delete(name);
      this.givenUp += 1;
      this.#left += cost - (this.#spent.get(name) ?? 0);
    }
    this.#left -= 1;
  }
}

function digestOf(number: number): Digest {
  const digest = parseDigest(`sha256:${number.toString(16).padStart(64, "0")}`);
  if (!digest) throw new Error("unreachable");
  return digest;
}

async function soon(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}

const arrival = fc.record({
  type: fc.constant("arrive" as const),
  cost: fc.constantFrom(1, 2, 2, 2, 3),
  reason: fc.constantFrom<Reason>("pull", "pull", "pull", "revalidate", "warm"),
});
const answer = fc.record({ type: fc.constant("answer" as const), index: fc.nat(50) });
const broken = fc.record({
  type: fc.constant("break" as const),
  index: fc.nat(50),
  isCounted: fc.boolean(),
});
const crash = fc.record({ type: fc.constant("crash" as const), isCounted: fc.boolean() });

async function run(limit: number, steps: readonly Step[]): Promise<World> {
  const world = new World(limit);
  let name = 0;
  for (const step of steps) {
    const flight =
      "index" in step ? world.flights[step.index % Math.max(1, world.flights.length)] : undefined;
    if (step.type === "arrive") world.arrive({ ...step, name: (name += 1) });
    else if (step.type === "crash") await world.crash(() => step.isCounted);
    else if (flight && step.type === "answer") world.answer(flight);
    else if (flight && step.type === "break") world.break(flight, step.isCounted);
    await soon();
  }
  await world.finish();
  return world;
}

type Step =
  typeof arrival extends fc.Arbitrary<infer A>
    ?
        | A
        | { type: "answer"; index: number }
        | { type: "break"; index: number; isCounted: boolean }
        | { type: "crash"; isCounted: boolean }
    : never;

test("images that arrive whole are no fewer than an oracle's less one, and the limit holds", async () => {
  const steps = fc.array(fc.oneof({ weight: 5, arbitrary: arrival }, { weight: 6, arbitrary: answer }), {
    maxLength: 120,
    size: "max",
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 3, max: 40 }), steps, async (limit, steps) => {
      const world = await run(limit, steps);
      expect(world.counted).toBeLessThanOrEqual(limit);
      expect(world.whole.size).toBeGreaterThanOrEqual(world.oracle.whole - 1);
    }),
    { numRuns: 300 },
  );
});

test("the same when connections break and the process is killed, but for which images are given up then", async () => {
  const steps = fc.array(
    fc.oneof(
      { weight: 10, arbitrary: arrival },
      { weight: 12, arbitrary: answer },
      { weight: 2, arbitrary: broken },
      { weight: 1, arbitrary: crash },
    ),
    { maxLength: 120, size: "max" },
  );
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 3, max: 40 }), steps, async (limit, steps) => {
      const world = await run(limit, steps);
      expect(world.counted).toBeLessThanOrEqual(limit);
      expect(world.whole.size).toBeGreaterThanOrEqual(world.oracle.whole - 1 - world.oracle.givenUp);
    }),
    { numRuns: 300 },
  );
});
