/** `hubcap fsck`: checks a data root, beside a running Hubcap too, and repairs one where none runs. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { openStoreToCheck } from "../store/open.ts";
import { check, repair, type Finding } from "../store/repair/fsck.ts";
import { Reconciler } from "../store/repair/reconcile.ts";

export interface FsckOptions {
  readonly root: string;
  readonly repair: boolean;
  /** One JSON document instead of lines. */
  readonly json: boolean;
}

/** Prints what is wrong under `root`, and puts it right if it is to. @throws when something stays wrong. */
export async function fsck(options: FsckOptions): Promise<void> {
  const { root, json } = options;
  if (!existsSync(join(root, "blobs"))) throw new Error(`there is no store at ${root}`);
  const store = await openStoreToCheck(root, options.repair);
  try {
    const { blobs, strayFiles, catalog, survey, isRunning: running, flawed } = store;
    const checked = {
      blobs,
      strayFiles,
      catalog,
      survey,
      reconciler: new Reconciler({ blobs, catalog }),
      running,
    };
    const findings: Finding[] = [];
    const say = (finding: Finding): void => {
      findings.push(finding);
      if (!json) print(`${finding.problem.padEnd(8)}  ${finding.what}`);
    };
    for (const flaw of flawed) say(flaw);
    for await (const finding of check(checked)) {
      say(finding);
      if (options.repair) await repair(checked, finding);
    }
    if (options.repair) await store.confirm();
    if (json) print(JSON.stringify({ root, running, repaired: options.repair, findings }));
    conclude(findings.length, options);
  } finally {
    await store.close();
  }
}

function conclude(count: number, { root, repair, json }: FsckOptions): void {
  const problems = `${count} ${count === 1 ? "problem" : "problems"}`;
  if (count > 0 && !repair)
    throw new Error(`${problems} in ${root}; stop Hubcap and run hubcap fsck --repair`);
  if (!json) print(count === 0 ? `all is well in ${root}` : `${problems} put right in ${root}`);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
