/** What each client has spent of a window: so that nobody has more than a share of it. */
import type { QuotaRequest, Purpose, QuotaError } from "./quota.ts";
import { overShare, type Moment, type BucketName } from "./refusal.ts";
import type { WindowRow } from "./row.ts";
import type { Allowance } from "./slidingWindow.ts";

/** How many clients are remembered; each has spent a pull, so a limit bounds them too. */
const capacity = 10_000;

export class Shares {
  readonly #owner: BucketName;
  readonly #share: number | undefined;
  /** Each client's pulls, oldest first. */
  readonly #spent = new Map<string, Pick<WindowRow, "sentAt">[]>();

  /** `share` is of the limit, 0 to 1; without it, nothing is counted and nobody refused. */
  constructor(owner: BucketName, share: number | undefined) {
    this.#owner = owner;
    this.#share = share;
  }

  /** Takes over what clients spent under earlier processes, oldest first. */
  carry(rows: readonly { readonly client: string | null; readonly settledAt: number }[]): void {
    for (const { client, settledAt } of rows) {
      if (client !== null) this.#add(client, { sentAt: settledAt });
    }
  }

  /** Counts what an errand costs, and gives it back. */
  add({ purpose: { client } }: QuotaRequest, row: WindowRow): WindowRow {
    if (row.cost > 0) this.#add(client, row);
    return row;
  }

  /** Takes back one that was not counted after all. */
  remove(client: string, row: WindowRow): void {
    const rows = this.#spent.get(client);
    const at = rows?.indexOf(row) ?? -1;
    if (at < 0) return;
    rows?.splice(at, 1);
    if (rows?.length === 0) this.#spent.delete(client);
  }

  /** Why this client may not spend now, if it has had its share. What is warmed is nobody's. */
  refusal(
    { reason, client }: Purpose,
    { limit, windowMs }: Allowance,
    now: number,
    moment: (time: number) => Moment,
  ): QuotaError | undefined {
    const rows = this.#spent.get(client);
    if (this.#share === undefined || limit === undefined || reason === "warm" || !rows) return undefined;
    const first = rows.findIndex(({ sentAt }) => sentAt > now - windowMs);
    rows.splice(0, first < 0 ? rows.length : first);
    const most = Math.max(1, Math.floor(limit * this.#share));
    const oldest = rows.at(-most);
    if (!oldest) return undefined;
    const free = moment(oldest.sentAt + windowMs);
    return overShare(this.#owner, client.slice(0, 200), most, { limit, windowMs }, free);
  }

  #add(client: string, row: Pick<WindowRow, "sentAt">): void {
    if (this.#share === undefined) return;
    this.#spent.getOrInsertComputed(client, () => []).push(row);
    if (this.#spent.size <= capacity) return;
    const oldest = this.#spent.keys().next();
    if (!oldest.done) this.#spent.delete(oldest.value);
  }
}
