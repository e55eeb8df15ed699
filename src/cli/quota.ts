/** `hubcap quota`: how many pulls are left, asked of a running Hubcap over HTTP alone. */
import { request } from "undici";
import type { Snapshot } from "../quota/snapshot.ts";
import { UsageError } from "./exit.ts";
import { quotaTable } from "./quotaTable.ts";

/** The command's options as they were typed. */
export interface QuotaOptions {
  readonly status?: string | undefined;
  readonly upstream?: string | undefined;
  readonly failBelow?: string | undefined;
  readonly json?: boolean | undefined;
}

const patienceMs = 10_000;

/** Prints the table, or JSON. @throws UsageError; Error when Hubcap cannot be asked, or fewer than `failBelow` are left. */
export async function showQuota({ status, upstream, failBelow, json }: QuotaOptions): Promise<void> {
  const needed = readNeeded(failBelow);
  const rows = await ask(readAddress(status ?? "http://127.0.0.1:5001"));
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

function readAddress(text: string): string {
  const url = URL.parse(text);
  if (url?.protocol === "http:" || url?.protocol === "https:") {
    return `${url.origin}${url.pathname.replace(/\/$/, "")}/api/v1/quota`;
  }
  throw new UsageError(
    "--status takes an http or https URL, such as http://127.0.0.1:5001. See hubcap quota --help",
  );
}

async function ask(address: string): Promise<readonly Snapshot[]> {
  let answer: unknown;
  try {
    const { statusCode, body } = await request(address, {
      headersTimeout: patienceMs,
      bodyTimeout: patienceMs,
    });
    answer = statusCode === 200 ? await body.json() : await body.dump();
  } catch (error) {
    throw new Error(`no Hubcap answers at ${address}: ${reasonOf(error)}`, { cause: error });
  }
  if (isQuota(answer)) return answer.upstreams;
  throw new Error(`what answers at ${address} is not Hubcap's status listener`);
}

function isQuota(answer: unknown): answer is { readonly upstreams: readonly Snapshot[] } {
  return (
    typeof answer === "object" && answer !== null && "upstreams" in answer && Array.isArray(answer.upstreams)
  );
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}

/** Why `row` is not enough, or undefined. Without a limit there always is. */
function lackOf({ name, state, remaining }: Snapshot, needed: number): string | undefined {
  if (needed === 0 || state === "unlimited") return undefined;
  if (remaining === null) return `it is not known yet how many pulls of ${name} are left`;
  if (remaining >= needed) return undefined;
  return `${remaining} ${remaining === 1 ? "pull" : "pulls"} of ${name} left, fewer than ${needed}`;
}
