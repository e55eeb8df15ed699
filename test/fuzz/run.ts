/** `npm run fuzz [-- TARGET…] [-- --minutes N]`: an hour by default, shared by the targets. */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { fuzz } from "./fuzzer.ts";
import { targets } from "./targets/targets.ts";

const { values, positionals } = parseArgs({
  // A second `--` comes along when npm is given two.
  args: process.argv.slice(2).filter((word) => word !== "--"),
  options: { minutes: { type: "string", default: "60" } },
  allowPositionals: true,
});
const names = positionals.length > 0 ? positionals : Object.keys(targets);
const seconds = Math.max(1, Math.floor((Number(values.minutes) * 60) / names.length));
const crashes = fileURLToPath(new URL("crashes", import.meta.url));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

for (const name of names) {
  say(`${name}: ${seconds} s`);
  const result = await fuzz(name, { seconds, crashes, said: (line) => say(`  ${line}`) });
  const { runs, places, features } = result;
  say(
    `${name}: ${runs} runs reached ${places[1]} places in the code (${places[0]} by the seeds) in ${features[1]} ways (${features[0]})`,
  );
  if (result.code === 0) continue;
  process.exitCode = 1;
  say(result.trouble);
  for (const { file, input } of result.crashes) {
    say(`${file}; as a test case, for test/fuzz/targets.test.ts:`);
    say(`  ["${name}", Buffer.from("${input.toString("base64")}", "base64")],`);
  }
}
