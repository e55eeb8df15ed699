/** What clients and repositories spent, and when; read from the ledger again only when something was spent. */
import type { Clock } from "../../async/clock.ts";
import { anonymousClient } from "../../mirror/context.ts";
import type { Mirror } from "../../mirror/mirror.ts";
import type { QuotaBucket } from "../../quota/bucket.ts";
import type { Ledger, SpendRow, SpendSlice } from "../../quota/ledger.ts";
import type { Log } from "../../telemetry/log.ts";
import { redact } from "../redact.ts";
import { courseStep } from "./burnDown.ts";

/** How far back the page sums up what was spent, in ms. */
export const lookBackMs = 6 * 60 * 60 * 1000;

/** After so many ms it is read again in any case, since time alone changes the sums. */
const staleMs = 60_000;

const mostRows = 8;

export interface Spent {
  readonly clients: readonly SpendRow[];
  readonly repositories: readonly SpendRow[];
  /** How much was spent over time of each upstream with a limit. */
  readonly courses: ReadonlyMap<string, readonly SpendSlice[]>;
  /** Pulls of clients that were refused for lack of quota, by upstream, and since which hour that is known. */
  readonly refused: ReadonlyMap<string, { readonly count: number; readonly since: number }>;
}

export interface SpendingOptions {
  readonly upstreams: ReadonlyMap<string, { readonly bucket: Pick<QuotaBucket, "snapshot" | "on"> }>;
  readonly ledger: Pick<Ledger, "spendBy" | "spendOver">;
  readonly mirror: Pick<Mirror, "mayKnow">;
  readonly log: Log;
  readonly clock: Pick<Clock, "now">;
}

export class Spending {
  readonly #options: SpendingOptions;
  #readAt = Number.NEGATIVE_INFINITY;
  #isOld = true;
  #reading: Promise<Spent | undefined> = Promise.resolve(undefined);

  constructor(options: SpendingOptions) {
    this.#options = options;
    for (const { bucket } of options.upstreams.values()) {
      bucket.on(({ type }) => {
        if (type === "spent" || type === "granted" || type === "refused") this.#isOld = true;
      });
    }
  }

  /** Undefined when the ledger cannot be read now. */
  read(): Promise<Spent | undefined> {
    const now = this.#options.clock.now();
    const age = now - this.#readAt;
    if (this.#isOld || age < 0 || age >= staleMs) {
      this.#isOld = false;
      this.#readAt = now;
      this.#reading = this.#reading.then(() => this.#query(now));
    }
    return this.#reading;
  }

  async #query(now: number): Promise<Spent | undefined> {
    const { ledger, upstreams, mirror, log } = this.#options;
    const since = now - lookBackMs;
    try {
      const clients = await ledger.spendBy({ by: "client", since });
      const repositories = await redact(await ledger.spendBy({ by: "repository", since }), (repository) =>
        mirror.mayKnow(anonymousClient, repository),
      );
      const courses = new Map<string, readonly SpendSlice[]>();
      const refused = new Map<string, { count: number; since: number }>();
      for (const [upstream, { bucket }] of upstreams) {
        const { limit, windowSeconds } = bucket.snapshot();
        if (limit === null) continue;
        const windowMs = windowSeconds * 1000;
        const stepMs = courseStep(windowMs);
        courses.set(upstream, await ledger.spendOver({ upstream, since: now - 2 * windowMs, stepMs }));
        refused.set(upstream, await this.#refused(upstream, now - windowMs));
      }
      return {
        clients: clients.slice(0, mostRows),
        repositories: repositories.slice(0, mostRows),
        courses,
        refused,
      };
    } catch (error) {
      this.#isOld = true;
      log.debug({ err: error }, "the page cannot show what was spent");
      return undefined;
    }
  }

  async #refused(upstream: string, since: number): Promise<{ count: number; since: number }> {
    const hourMs = 60 * 60 * 1000;
    const rows = await this.#options.ledger.spendBy({ by: "reason", upstream, since });
    const count = rows.find(({ key }) => key === "pull")?.refused ?? 0;
    // The ledger adds refusals up by the hour.
    return { count, since: Math.floor(since / hourMs) * hourMs };
  }
}
