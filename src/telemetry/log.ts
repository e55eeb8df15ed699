/** How the house speaks: JSON lines on standard output. */
import { destination, pino, type DestinationStream, type Logger } from "pino";

export type Log = Pick<Logger, "info" | "warn" | "error" | "debug" | "fatal">;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

// JSON escapes control characters only up to U+001F; terminals obey those of C1 too, and many readers end a line at U+2028.
const unescaped = /[\u007f-\u009f\u2028\u2029]/g;

/** Lines that are written together at most, in characters: those of one turn of the event loop under load are fewer. */
const most = 64 * 1024;

/** Where lines go, whole. */
export type Output = DestinationStream;

/** A log whose lines carry RFC 3339 times and level names. No value can end its line or command a terminal. */
export function openLog(level: LogLevel, output: Output = openOutput()): Log {
  const options = {
    level,
    base: null,
    timestamp: timestamps(),
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, output);
}

/** The time of a line. Under load many lines are of one millisecond, and its name took a fifth of what a line takes. */
function timestamps(): () => string {
  let at = Number.NaN;
  let named = "";
  return () => {
    const now = Date.now();
    if (now !== at) {
      at = now;
      named = `,"time":"${new Date(now).toISOString()}"`;
    }
    return named;
  };
}

/** An output that keeps lines until its turn of the event loop ends, or until they are many. */
interface TurnOutput extends Output {
  /** Passes on what it keeps. A logger asks for it after a fatal line. */
  readonly flushSync: () => void;
}

/** Standard output. The lines of each turn are written at once: one by one they were a tenth of what a manifest costs. */
export function openOutput(): TurnOutput {
  const standard = destination(1);
  const output = byTurn((lines) => standard.write(inOneLine(lines)));
  // Without a turn that follows: the process ends, or something unforeseen ends it.
  process.once("exit", output.flushSync);
  return output;
}

/** Has `write` take all lines of a turn of the event loop at once. */
export function byTurn(write: (lines: string) => void): TurnOutput {
  let pending = "";
  const flushSync = (): void => {
    const lines = pending;
    pending = "";
    if (lines !== "") write(lines);
  };
  return {
    write(line) {
      if (pending === "") setImmediate(flushSync);
      pending += line;
      if (pending.length >= most) flushSync();
    },
    flushSync,
  };
}

/** Lines of JSON, with all escaped that could end a line for a reader or command a terminal. */
export function inOneLine(json: string): string {
  // All of ASCII, as nearly all lines are: to know that takes a tenth of the time of a search for what is not.
  if (Buffer.byteLength(json) === json.length && !json.includes("\u007f")) return json;
  return json.replaceAll(unescaped, escape);
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
