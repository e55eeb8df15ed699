/** `npm run demo`: two minutes that show what Hubcap does as pulls run out and come back, on this machine alone. */
import { parseArgs } from "node:util";
import { startHub } from "../support/hub.ts";
import { summary, tour } from "./tour.ts";

const limit = 30;

const { values } = parseArgs({ options: { fast: { type: "boolean", default: false } } });
// Longer than it takes to spend all pulls on a busy machine: the first of them must not be back before the last is gone.
const windowSeconds = values.fast ? 40 : 65;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const ending = new AbortController();
process.once("SIGINT", () => ending.abort()).once("SIGTERM", () => ending.abort());

const hub = await startHub({ limit, window: windowSeconds });
try {
  say(
    `A stand-in for Docker Hub allows ${limit} pulls in ${windowSeconds} s (the real one: 100 in 6 h). Hubcap stands in front of it,\n` +
      "and 8 nodes pull through it. No account is needed, and nothing leaves this machine. " +
      (values.fast ? "It takes less than a minute." : "It takes two minutes."),
  );
  const numbers = await tour({ hub, isWatched: !values.fast, say, signal: ending.signal });
  say("");
  for (const line of summary(numbers, hub)) say(line);
} catch (error) {
  if (!ending.signal.aborted) throw error;
  say("Ended early; everything is cleaned up.");
  process.exitCode = 130;
} finally {
  await hub.stop();
}
