/** `hubcap fsck`, run as operators run it. */
import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Hubcap } from "./hubcap.ts";

export interface Checkup {
  readonly code: number;
  readonly findings: readonly { readonly problem: string; readonly what: string }[];
  readonly errors: string;
}

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Checks the storage of `hubcap`, which may be running. */
export function fsck(hubcap: Hubcap, ...flags: string[]): Promise<Checkup> {
  const config = join(dirname(hubcap.root), "hubcap.yaml");
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("HUBCAP_")));
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [main, "fsck", "--json", "--config", config, ...flags],
      { env },
      (error, output, errors) => {
        const { findings } = JSON.parse(output || '{"findings":[]}') as Pick<Checkup, "findings">;
        resolve({ code: error === null ? 0 : Number(error.code), findings, errors });
      },
    );
  });
}
