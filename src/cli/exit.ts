/** How the process ends: its exit codes, and the lines that say why. */
import { ConfigError } from "../config/issue.ts";

/** The exit codes, with their meaning as `--help` shows it. 78 is EX_CONFIG of sysexits(3). */
export const exitCodes = {
  ok: { code: 0, meaning: "all went well" },
  failure: { code: 1, meaning: "the command failed" },
  usage: { code: 2, meaning: "the command line is wrong" },
  config: { code: 78, meaning: "the configuration is wrong" },
} as const;

/** The command line is wrong; the message says how, and where help is. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The exit code for what a command threw, and the text for standard error. Never a stack trace. */
export function endOf(error: unknown): { readonly code: number; readonly text: string } {
  if (error instanceof ConfigError) {
    const count = error.issues.length === 1 ? "1 mistake" : `${error.issues.length} mistakes`;
    const advice = `hubcap: ${count} in the configuration; correct the above and start again (settings: docs/configuration.md)`;
    return { code: exitCodes.config.code, text: `${error.message}\n${advice}` };
  }
  const { code } = error instanceof UsageError ? exitCodes.usage : exitCodes.failure;
  const message = error instanceof Error ? error.message : String(error);
  return { code, text: `hubcap: ${message.replaceAll(/\s*\n\s*/g, " ")}` };
}
