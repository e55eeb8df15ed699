/** The log: JSON lines on standard output. */
import { destination, pino, type DestinationStream, type Logger } from "pino";

export type Log = Pick<Logger, "info" | "warn" | "error" | "debug" | "fatal">;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

// JSON escapes control characters only up to U+001F; terminals interpret those of C1 too, and many readers end a line at U+2028.
const unescaped = /[\u007f-\u009f\u2028\u2029]/g;

/** The most characters that are written together: one turn of the event loop under load has fewer. */
const most = 64 * 1024;

/** Where whole lines are written. */
export type Output = DestinationStream;

/** A log whose lines have RFC 3339 times and level names. No value can end a line or control a terminal. */
export function openLog(level: LogLevel, output: Output = openOutput()): Log {
  const options = {
    level,
    base: null,
    timestamp: timestamps(),
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, output);
}

/** The time of a line. Under load many lines share a millisecond, and formatting it took a fifth of a line's time. */
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

/** An output that buffers lines until the turn of the event loop ends, or until they are many. */
interface TurnOutput extends Output {
  /** Writes what is buffered. Pino calls it after a fatal line. */
  readonly flushSync: () => void;
}

/** Standard output. The lines of each turn are written together: one by one they were a tenth of a manifest's cost. */
export function openOutput(): TurnOutput {
  const standard = destination(1);
  const output = byTurn((lines) => standard.write(inOneLine(lines)));
  // No turn follows when the process ends.
  process.once("exit", output.flushSync);
  return output;
}

/** Calls `write` once with all lines of a turn of the event loop. */
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

/** JSON lines in which everything is escaped that could end a line or control a terminal. */
export function inOneLine(json: string): string {
  // Nearly all lines are ASCII, which is ten times faster to check than to search for other characters.
  if (Buffer.byteLength(json) === json.length && !json.includes("\u007f")) return json;
  return json.replaceAll(unescaped, escape);
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
