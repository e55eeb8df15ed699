/** `hubcap quota`: how many pulls are left, asked of a running Hubcap over HTTP alone. */
import type { Snapshot } from "../quota/snapshot.ts";
import { UsageError } from "./exit.ts";
import { quotaTable } from "./quotaTable.ts";
import { StatusApi } from "./statusApi.ts";

/** The command's options as they were given. */
export interface QuotaOptions {
  readonly status?: string | undefined;
  readonly upstream?: string | undefined;
  readonly failBelow?: string | undefined;
  readonly json?: boolean | undefined;
}

interface Quota {
  readonly upstreams: readonly Snapshot[];
}

const patienceMs = 10_000;

/** Prints the table, or JSON. @throws UsageError; Error when Hubcap cannot be asked, or fewer than `failBelow` are left. */
export async function showQuota({ status, upstream, failBelow, json }: QuotaOptions): Promise<void> {
  const needed = readNeeded(failBelow);
  const api = new StatusApi({ command: "quota", status, patienceMs });
  const { body } = await api.ask<Quota>("/api/v1/quota", "upstreams");
  const rows = body.upstreams;
  const upstreams = rows.filter(({ name }) => upstream === undefined || name === upstream);
  if (upstream !== undefined && upstreams.length === 0) {
    throw new Error(`there is no upstream ${upstream}; there are ${rows.map(({ name }) => name).join(", ")}`);
  }
  console.log(json ? JSON.stringify({ upstreams }, undefined, 2) : quotaTable(upstreams, Date.now()));
  const lacks = upstreams.flatMap((row) => lackOf(row, needed) ?? []);
  if (lacks.length > 0) throw new Error(lacks.join("; "));
}

function readNeeded(text: string | undefined): number {
  if (text === undefined) return 0;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UsageError("--fail-below takes a whole number of pulls. See hubcap quota --help");
}

/** Why `row` is not enough, or undefined. Without a limit there always is. */
function lackOf({ name, state, remaining }: Snapshot, needed: number): string | undefined {
  if (needed === 0 || state === "unlimited") return undefined;
  if (remaining === null) return `it is not known yet how many pulls of ${name} are left`;
  if (remaining >= needed) return undefined;
  return `${remaining} ${remaining === 1 ? "pull" : "pulls"} of ${name} left, fewer than ${needed}`;
}
