/** Rows that outlive the content that they are about, and so need a bound of their own: the oldest go, but for what is held. */
import { TimeSlices } from "../../async/slices.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Inventory } from "../catalog.ts";

/** A row that a pull left. */
export interface LastingRow {
  readonly repository: Repository;
  /** Absent when it is about the whole repository. */
  readonly digest: Digest | undefined;
  /** When it was written, in ms since the epoch; 0 where that is not known. */
  readonly at: number;
  /** Names it within its table. */
  readonly key: readonly string[];
}

/** One table of such rows. Every call does a small, bounded piece of work. */
export interface LastingTable {
  readonly name: "visibility" | "sighting" | "immutable_tag" | "verdict";
  count(): Promise<number>;
  /** Rows in the order of their age, oldest first, after `after`; at most `limit`, and none only at the end. */
  page(after: LastingRow | undefined, limit: number): Promise<readonly LastingRow[]>;
  forget(row: LastingRow): Promise<void>;
}

interface LastingLimits {
  /** Older rows go though there are few, in ms. */
  readonly ageMs: number;
  readonly rows: number;
}

const dayMs = 24 * 60 * 60_000;

/** What is forgotten is found out anew: an image counts as first seen then, and an immutable tag means what it means then. */
export const lastingLimits: Readonly<Record<LastingTable["name"], LastingLimits>> = {
  visibility: { ageMs: 90 * dayMs, rows: 100_000 },
  sighting: { ageMs: 400 * dayMs, rows: 500_000 },
  immutable_tag: { ageMs: Infinity, rows: 500_000 },
  verdict: { ageMs: Infinity, rows: 200_000 },
};

const perPage = 50;

/** Forgets what is too old or too much in `table`, but for what is about content that is held; how many rows that were. */
export async function forgetLasting(
  table: LastingTable,
  { ageMs, rows }: LastingLimits,
  inventory: Pick<Inventory, "lastUse" | "byName">,
  now: number,
  signal: AbortSignal,
): Promise<number> {
  const isHeld = async ({ repository, digest }: LastingRow): Promise<boolean> => {
    if (digest) return (await inventory.lastUse(repository, digest)) !== undefined;
    const [first] = await inventory.byName({ repository, digest: "" as Digest }, 1);
    return first?.repository.upstream === repository.upstream && first.repository.name === repository.name;
  };
  const slices = new TimeSlices();
  const excess = (await table.count()) - rows;
  let forgotten = 0;
  for (let after: LastingRow | undefined; ;) {
    const page = await table.page(after, perPage);
    for (const row of page) {
      signal.throwIfAborted();
      if (forgotten >= excess && row.at > now - ageMs) return forgotten;
      if (!(await isHeld(row))) {
        await table.forget(row);
        forgotten += 1;
      }
      await slices.rest();
    }
    after = page.at(-1);
    if (!after) return forgotten;
  }
}
