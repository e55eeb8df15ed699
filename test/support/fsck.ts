/** `hubcap fsck`, run as operators run it. */
import { dirname, join } from "node:path";
import type { Hubcap } from "./hubcap.ts";
import { runHubcap } from "./run.ts";

export interface Checkup {
  readonly code: number;
  readonly findings: readonly { readonly problem: string; readonly what: string }[];
  readonly errors: string;
}

/** Checks the storage of `hubcap`, which may be running. */
export async function fsck(hubcap: Hubcap, ...flags: string[]): Promise<Checkup> {
  const config = join(dirname(hubcap.root), "hubcap.yaml");
  const { code, output, errors } = await runHubcap(["fsck", "--json", "--config", config, ...flags]);
  const { findings } = JSON.parse(output || '{"findings":[]}') as Pick<Checkup, "findings">;
  return { code, findings, errors };
}
