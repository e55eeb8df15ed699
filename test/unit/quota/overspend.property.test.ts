/** Whatever happens to answers, clocks and processes, an upstream never counts more than it allows. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { windowMs, World } from "./world.ts";

const hour = 60 * 60 * 1000;
const year = 365 * 24 * hour;

type Step = (world: World) => Promise<void> | void;

const step = (name: string, run: Step) => fc.constant({ run, toString: () => name });
const stepWith = <T>(
  name: string,
  values: fc.Arbitrary<T>,
  run: (world: World, value: T) => Promise<void> | void,
) =>
  values.map((value) => ({
    run: (world: World) => run(world, value),
    toString: () => `${name}(${JSON.stringify(value)})`,
  }));

const some = fc.nat({ max: 30 });
const pick = (world: World, index: number) => world.flights[index % Math.max(1, world.flights.length)];

const pull = step("pull", async (world) => void (await world.send("manifest-get")));
const head = step("head", async (world) => void (await world.send("manifest-head")));
const deliver = stepWith("deliver", some, (world, index) => {
  const flight = pick(world, index);
  if (flight) world.deliver(flight);
});
const answer = stepWith("answer", some, (world, index) => {
  const flight = pick(world, index);
  if (flight) world.answer(flight);
});
const refuse = stepWith("refuse", fc.tuple(some, fc.boolean()), (world, [index, isCounted]) => {
  const flight = pick(world, index);
  if (!flight) return;
  world.deliver(flight, isCounted ? "no, but counted" : "no");
  world.answer(flight);
});
const lose = stepWith("lose", fc.tuple(some, fc.boolean()), (world, [index, arrives]) => {
  const flight = pick(world, index);
  if (flight) world.lose(flight, arrives);
});
const wait = stepWith(
  "wait",
  fc.oneof(fc.nat({ max: 2000 }), fc.constantFrom(20_000, windowMs - 1, windowMs, windowMs + 1, hour)),
  (world, ms) => void (world.time += ms),
);
const jump = stepWith("jump", fc.constantFrom(-year, -hour, -1, 1, hour, year), (world, ms) =>
  world.jump(ms),
);
const restart = stepWith(
  "restart",
  fc.record({
    down: fc.constantFrom(0, 10, 20_001, hour),
    jump: fc.constantFrom(0, 0, -year, -hour, hour, year),
    arriving: fc.nat(),
  }),
  async (world, { down, jump, arriving }) => {
    world.jump(jump);
    await world.restart(down, (index) => ((arriving >> (index % 30)) & 1) === 1);
  },
);
const tend = step("tend", (world) => world.account.maintain(0));
const elsewhere = stepWith("elsewhere", fc.integer({ min: 1, max: 6 }), (world, pulls) =>
  world.spendElsewhere(pulls),
);
const limit = stepWith("limit", fc.integer({ min: 1, max: 12 }), (world, limit) => world.changeLimit(limit));

const own = [
  { weight: 8, arbitrary: pull },
  { weight: 2, arbitrary: deliver },
  { weight: 6, arbitrary: answer },
  { weight: 1, arbitrary: lose },
  { weight: 2, arbitrary: refuse },
  { weight: 4, arbitrary: wait },
  { weight: 1, arbitrary: jump },
  { weight: 1, arbitrary: restart },
  { weight: 1, arbitrary: tend },
];
const others = [
  { weight: 3, arbitrary: head },
  { weight: 1, arbitrary: elsewhere },
  { weight: 1, arbitrary: limit },
];

const runs = { numRuns: Number(process.env["RUNS"] ?? 500) };
const limits = fc.integer({ min: 1, max: 12 });

describe("an upstream never counts more than it allows", () => {
  test("when answers say nothing and the limit is configured", async () => {
    const steps = fc.array(fc.oneof(...own), { maxLength: 80, size: "max" });
    await fc.assert(
      fc.asyncProperty(limits, steps, async (limit, steps) => {
        const world = new World({ limit, hasHeaders: false });
        await world.start();
        for (const { run } of steps) await run(world);
      }),
      runs,
    );
  });

  test("when answers say what is left, others spend and the limit changes: at the latest after one answer", async () => {
    const steps = fc.array(fc.oneof(...own, ...others), { maxLength: 80, size: "max" });
    await fc.assert(
      fc.asyncProperty(limits, steps, async (limit, steps) => {
        const world = new World({ limit, hasHeaders: true });
        await world.start();
        for (const { run } of steps) await run(world);
      }),
      runs,
    );
  });
});

describe("nothing is held back for good", () => {
  test.each([true, false])("after a window without spending, everything may be spent", async (hasHeaders) => {
    const steps = fc.array(fc.oneof(...own, ...(hasHeaders ? others : [])), { maxLength: 60, size: "max" });
    await fc.assert(
      fc.asyncProperty(limits, steps, async (limit, steps) => {
        const world = new World({ limit, hasHeaders });
        await world.start();
        for (const { run } of steps) await run(world);
        world.answerAll();
        world.time += windowMs + 1;
        await world.ask();
        expect(world.account.balance.tokens).toBe(world.limit);
      }),
      runs,
    );
  });

  test("one by one, exactly what the upstream says is left may be spent, over restarts too", async () => {
    // Off the very millisecond at which a pull comes back: that is ours to be careful about.
    const pause = stepWith("wait", fc.constantFrom(1, 777, 20_003), (world, ms) => void (world.time += ms));
    const guess = stepWith("guess", fc.boolean(), async (world, isCounted) => {
      const flight = await world.send("manifest-get");
      if (flight) world.deliver(flight, isCounted ? "no, but counted" : "no");
    });
    const steps = fc.array(fc.oneof(pull, guess, elsewhere, pause, restart), { maxLength: 60, size: "max" });
    await fc.assert(
      fc.asyncProperty(limits, steps, async (limit, steps) => {
        const world = new World({ limit, hasHeaders: true });
        await world.start();
        for (const { run } of steps) {
          await run(world);
          world.answerAll();
          await world.ask();
          expect(world.account.balance.tokens).toBe(world.remaining);
        }
      }),
      runs,
    );
  });
});
