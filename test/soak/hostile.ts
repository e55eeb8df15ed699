/** The hostile clients as a process of their own, so that their work is not measured with that of the others: `URL SEED COUNT GOODS`. */
import { setTimeout as wait } from "node:timers/promises";
import { attacks, type Attacker } from "./attacks.ts";
import { Random } from "./random.ts";

/** What the process is told of the stand-in's content, as JSON. */
export interface Goods {
  readonly digests: readonly (readonly [string, string])[];
  readonly layers: readonly (readonly [string, string])[];
}

const [url = "", seed = "", count = "", goods = ""] = process.argv.slice(2);
const { digests, layers } = JSON.parse(goods) as Goods;
const names = Object.keys(attacks);
const ending = new AbortController();
process.once("SIGTERM", () => ending.abort());
const { signal } = ending;
let requests = 0;

async function run(number: number): Promise<void> {
  const random = new Random(Number(seed) * 1000 + number);
  const attacker: Attacker = {
    url,
    from: `127.0.1.${number + 1}`,
    random,
    digests: new Map(digests),
    layers: new Map(layers),
    signal,
    sent: () => (requests += 1),
  };
  while (!signal.aborted) {
    await attacks[random.pick(names)]?.(attacker);
    await wait(50 + random.below(500), undefined, { signal }).catch(() => {});
  }
}

await Promise.all(Array.from({ length: Number(count) }, (_, number) => run(number)));
process.stdout.write(`${requests}\n`);
