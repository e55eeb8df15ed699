/** Everything that the page shows, at one moment. */
import type { Clock } from "../../async/clock.ts";
import { anonymousClient } from "../../mirror/context.ts";
import type { Mirror } from "../../mirror/mirror.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Routing } from "../../oci/target.ts";
import type { QuotaBucket } from "../../quota/bucket.ts";
import type { Ledger } from "../../quota/ledger.ts";
import type { Snapshot } from "../../quota/snapshot.ts";
import type { Totals } from "../../store/catalog.ts";
import type { Eviction } from "../../store/evict/eviction.ts";
import type { Fill } from "../../store/fill/fill.ts";
import type { Failure } from "../../telemetry/failures.ts";
import type { History } from "../../telemetry/history.ts";
import type { Log } from "../../telemetry/log.ts";
import type { Registry } from "../../upstream/registry.ts";
import { redacted, repositoryIn } from "../redact.ts";
import { Spending, type Spent } from "./spending.ts";

/** A running fill, as the page shows it. */
export interface ShownFill extends Pick<Fill, "digest" | "size" | "written" | "readers" | "startedAt"> {
  readonly repository: Repository;
}

interface RunningFills {
  /** Those of repositories that all clients may know of. */
  readonly shown: readonly ShownFill[];
  /** How many others there are. */
  readonly hidden: number;
}

type UpstreamHealth = Pick<Registry["health"], "failures" | "knownDown">;

/** An upstream as the page reads it. */
export interface WatchedUpstream {
  readonly bucket: Pick<QuotaBucket, "snapshot" | "on">;
  readonly registry: { readonly health: UpstreamHealth };
}

export interface ViewOptions {
  /** By source host, in the order of the configuration. */
  readonly upstreams: ReadonlyMap<string, WatchedUpstream>;
  readonly ledger: Pick<Ledger, "spendBy" | "spendOver">;
  readonly mirror: Pick<Mirror, "explain" | "mayKnow">;
  readonly routing: Routing;
  readonly eviction: Pick<Eviction, "capacity" | "totals" | "oldestUse">;
  readonly fills: { readonly running: Iterable<Pick<Fill, keyof ShownFill>> };
  readonly metrics: { readonly history: History; readonly failures: { readonly last: readonly Failure[] } };
  /** What is wrong with this Hubcap itself, if anything is. */
  readonly degraded: () => string | undefined;
  readonly log: Log;
  readonly clock: Clock;
}

export interface View {
  readonly now: number;
  readonly upstreams: readonly { readonly quota: Snapshot; readonly health: UpstreamHealth }[];
  /** Undefined when the ledger cannot be read. */
  readonly spent: Spent | undefined;
  readonly history: History;
  readonly fills: RunningFills;
  readonly failures: readonly Failure[];
  readonly disk: {
    readonly capacity: number;
    /** Undefined when the catalog cannot be read. */
    readonly held: Totals | undefined;
    readonly oldestUse: number | undefined;
  };
  readonly degraded: string | undefined;
}

/** Reads everything that the page shows. Never fails: what cannot be read is left out. */
export class Views {
  readonly #options: ViewOptions;
  readonly #spending: Spending;

  constructor(options: ViewOptions) {
    this.#options = options;
    this.#spending = new Spending(options);
  }

  async take(): Promise<View> {
    const { upstreams, eviction, metrics, degraded, clock } = this.#options;
    const [spent, held, oldestUse, fills, failures] = await Promise.all([
      this.#spending.read(),
      this.#known(eviction.totals()),
      this.#known(eviction.oldestUse()),
      this.#fills(),
      this.#failures(),
    ]);
    return {
      now: clock.now(),
      upstreams: [...upstreams.values()].map(({ bucket, registry }) => ({
        quota: bucket.snapshot(),
        health: registry.health,
      })),
      spent,
      history: metrics.history,
      fills,
      failures,
      disk: { capacity: eviction.capacity, held, oldestUse },
      degraded: degraded(),
    };
  }

  /** Digests and sizes tell as much of a repository as its name. */
  async #fills(): Promise<RunningFills> {
    const all = [...this.#options.fills.running];
    const shown = await Promise.all(
      all.map(async ({ digest, size, written, readers, startedAt, repository }) =>
        repository && (await this.#isPublic(repository))
          ? [{ digest, size, written, readers, startedAt, repository }]
          : [],
      ),
    );
    return { shown: shown.flat(), hidden: shown.filter(({ length }) => length === 0).length };
  }

  #failures(): Promise<readonly Failure[]> {
    return Promise.all(
      this.#options.metrics.failures.last.map(async (failure) => {
        const repository = repositoryIn(failure.image);
        const isShown = !repository || (await this.#isPublic(repository));
        return isShown ? failure : { ...failure, image: redacted, reason: "only the log says more" };
      }),
    );
  }

  /** Without credentials: the page is shown to all that reach the listener. */
  async #isPublic(repository: Repository): Promise<boolean> {
    return (await this.#known(this.#options.mirror.mayKnow(anonymousClient, repository))) ?? false;
  }

  async #known<T>(reading: Promise<T>): Promise<T | undefined> {
    try {
      return await reading;
    } catch (error) {
      this.#options.log.debug({ err: error }, "a part of the page cannot be shown");
      return undefined;
    }
  }
}
