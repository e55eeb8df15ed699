/** How the house speaks: JSON lines on standard output. */
import { pino, type Logger } from "pino";

export type Log = Pick<Logger, "info" | "warn" | "error" | "debug" | "fatal">;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

// JSON escapes control characters only up to U+001F; terminals obey those of C1 too, and many readers end a line at U+2028.
const unescaped = /[\u007f-\u009f\u2028\u2029]/g;

/** A log whose lines carry RFC 3339 times and level names. No value can end its line or command a terminal. */
export function openLog(level: LogLevel): Log {
  return pino({
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    hooks: { streamWrite: inOneLine },
  });
}

/** JSON of one line, with all escaped that could end the line for a reader or command a terminal. */
export function inOneLine(json: string): string {
  return json.replaceAll(unescaped, escape);
}

function escape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
