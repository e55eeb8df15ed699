/** The programs that only the measurements need. The others are test/support/clients.ts's. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const sources = { taskset: "util-linux", wrk: "wrk" } as const;

/** What a program prints. @throws when it fails; when it is missing, the error names the Debian package it comes from. */
export async function runProgram(name: keyof typeof sources, ...parameters: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(name, parameters)).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new Error(`${name} is missing: Debian's package ${sources[name]} has it`, { cause: error });
  }
}
