/** How the house speaks: JSON lines on standard output. */
import { pino, type Logger } from "pino";

export type Log = Pick<Logger, "info" | "warn" | "error" | "debug" | "fatal">;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";

/** A log whose lines carry RFC 3339 times and level names. Control characters in values are escaped by JSON. */
export function openLog(level: LogLevel): Log {
  return pino({
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
  });
}
