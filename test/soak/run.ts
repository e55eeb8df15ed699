/** `npm run soak [-- --minutes N] [-- --seed S]`: ten minutes by default, and a seed of its own each time. */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { soak } from "./soak.ts";

const { values } = parseArgs({
  // A second `--` comes along when npm is given two.
  args: process.argv.slice(2).filter((word) => word !== "--"),
  options: { minutes: { type: "string", default: "10" }, seed: { type: "string" } },
});
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const failures = await soak({
  minutes: Number(values.minutes),
  seed: Number(values.seed ?? randomInt(1_000_000)),
  p99Ms: 250,
  say,
});
for (const failure of failures.slice(0, 50)) say(`FAILED ${failure}`);
say(failures.length === 0 ? "everything held" : `${failures.length} did not hold`);
process.exitCode = failures.length === 0 ? 0 : 1;
