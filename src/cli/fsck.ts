/** `hubcap fsck`: checks a data root, beside a running Hubcap too, and repairs one where none runs. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type Database from "better-sqlite3";
import { ledgerTables } from "../store/sqlite/ledgerTables.ts";
import { DiskBlobs } from "../store/disk/blobs.ts";
import { SqliteCatalog } from "../store/sqlite/catalog.ts";
import { Reconciler } from "../store/repair/reconcile.ts";
import { checkWhole, isDamage, openBeside, openDatabase } from "../store/sqlite/database.ts";
import { check, repair, type Checked, type Finding } from "../store/repair/fsck.ts";
import { renew } from "../store/sqlite/live.ts";
import { LockedError, lockRoot, type RootLock } from "../store/sqlite/lock.ts";
import { SqliteSurvey } from "../store/sqlite/survey.ts";

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
  const lock = lockUnlessRunning(root, options.repair);
  const catalog = openCatalog(join(root, "catalog.sqlite"), options.repair);
  try {
    const checked = look(root, catalog.database, lock === undefined);
    const findings: Finding[] = [];
    const say = (finding: Finding): void => {
      findings.push(finding);
      if (!json) print(`${finding.problem.padEnd(8)}  ${finding.what}`);
    };
    if (catalog.damaged) say({ problem: "catalog", what: "catalog.sqlite" });
    for await (const finding of check(checked)) {
      say(finding);
      if (options.repair) await repair(checked, finding);
    }
    if (json) print(JSON.stringify({ root, running: checked.running, repaired: options.repair, findings }));
    conclude(findings.length, options);
  } finally {
    catalog.database.close();
    lock?.release();
  }
}

function conclude(count: number, { root, repair, json }: FsckOptions): void {
  const problems = `${count} ${count === 1 ? "problem" : "problems"}`;
  if (count > 0 && !repair)
    throw new Error(`${problems} in ${root}; stop Hubcap and run hubcap fsck --repair`);
  if (!json) print(count === 0 ? `all is well in ${root}` : `${problems} put right in ${root}`);
}

function look(root: string, database: Database.Database, running: boolean): Checked {
  const blobs = DiskBlobs.beside(root);
  const catalog = new SqliteCatalog(database);
  const custody = new Reconciler({ blobs, catalog });
  return { root, blobs, catalog, survey: new SqliteSurvey(database), custody, running };
}

function lockUnlessRunning(root: string, needed: boolean): RootLock | undefined {
  try {
    return lockRoot(root);
  } catch (error) {
    if (needed || !(error instanceof LockedError)) throw error;
    return undefined;
  }
}

/** The catalog at `path`; in place of one that is damaged or missing, an empty one, which lasts if it is to be repaired. */
function openCatalog(path: string, repaired: boolean) {
  if (!existsSync(path)) return { database: openDatabase(repaired ? path : ":memory:"), damaged: false };
  try {
    // Even to be repaired it is first looked at only: opening it for good would change it.
    const database = openBeside(path);
    try {
      checkWhole(database);
    } catch (error) {
      database.close();
      throw error;
    }
    if (!repaired) return { database, damaged: false };
    database.close();
    return { database: openDatabase(path), damaged: false };
  } catch (error) {
    if (!isDamage(error)) throw error;
    const database = repaired
      ? renew(path, [ledgerTables, { prefix: "pin", version: "pin" }], Date.now()).fresh
      : openDatabase(":memory:");
    return { database, damaged: true };
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
