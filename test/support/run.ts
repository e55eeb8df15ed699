/** The real `hubcap`, run to its end as people run it. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The entry of the command line. */
export const entry = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface Ended {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/**
 * Runs `hubcap` with these arguments and `input`, in this machine's environment without settings of Hubcap, and with `env`;
 * what is undefined there is left out.
 */
export function runHubcap(
  args: readonly string[],
  env: Readonly<NodeJS.ProcessEnv> = {},
  input = "",
): Promise<Ended> {
  const machine = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("HUBCAP_")),
  );
  return new Promise((resolve) => {
    const options = { env: { ...machine, ...env } };
    const child = execFile(process.execPath, [entry, ...args], options, (error, output, errors) =>
      resolve({ code: error === null ? 0 : Number(error.code), output, errors }),
    );
    child.stdin?.end(input);
  });
}
