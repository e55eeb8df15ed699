/** Everything that the page shows, as it stands at one moment. */
import type { Clock } from "../../async/clock.ts";
import { anonymousClient } from "../../mirror/identity.ts";
import type { Mirror } from "../../mirror/mirror.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Routing } from "../../oci/routing.ts";
import type { QuotaBucket } from "../../quota/bucket.ts";
import type { Ledger } from "../../quota/ledger.ts";
import type { Snapshot } from "../../quota/snapshot.ts";
import type { Failure } from "../../telemetry/failures.ts";
import type { History } from "../../telemetry/history.ts";
import type { Log } from "../../telemetry/log.ts";
import { repositoryIn, redacted } from "../redact.ts";
import { Spending, type Spent } from "./spending.ts";

/** A blob on its way in. */
export interface RunningFill {
  readonly digest: Digest;
  readonly repository: Repository | undefined;
  /** In bytes; undefined while the upstream has not said it. */
  readonly size: number | undefined;
  readonly written: number;
  readonly readers: number;
  /** ms since the epoch. */
  readonly startedAt: number;
}

/** An upstream as the page sees it. */
export interface WatchedUpstream {
  readonly bucket: Pick<QuotaBucket, "snapshot" | "on">;
  readonly registry: { readonly health: UpstreamHealth };
}

interface UpstreamHealth {
  /** In a row. */
  readonly failures: number;
  readonly knownDown: boolean;
}

interface Held {
  readonly bytes: number;
  readonly blobs: number;
  readonly manifests: number;
}

export interface ViewOptions {
  /** By source host, in the order of the configuration. */
  readonly upstreams: ReadonlyMap<string, WatchedUpstream>;
  readonly ledger: Pick<Ledger, "spendBy" | "spendOver">;
  readonly mirror: Pick<Mirror, "explain" | "mayKnow">;
  readonly routing: Routing;
  readonly keeper: {
    readonly capacity: number;
    totals(): Promise<Held>;
    oldestUse(): Promise<number | undefined>;
  };
  readonly fills: { readonly running: Iterable<RunningFill> };
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
  readonly fills: readonly RunningFill[];
  readonly failures: readonly Failure[];
  readonly disk: {
    readonly capacity: number;
    /** Undefined when the catalog cannot be read. */
    readonly held: Held | undefined;
    readonly oldestUse: number | undefined;
  };
  readonly degraded: string | undefined;
}

/** Looks at everything that the page shows. Fails never: what cannot be read is left out. */
export class Views {
  readonly #options: ViewOptions;
  readonly #spending: Spending;

  constructor(options: ViewOptions) {
    this.#options = options;
    this.#spending = new Spending(options);
  }

  async take(): Promise<View> {
    const { upstreams, keeper, metrics, degraded, clock } = this.#options;
    const [spent, held, oldestUse, fills, failures] = await Promise.all([
      this.#spending.read(),
      this.#known(keeper.totals()),
      this.#known(keeper.oldestUse()),
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
      disk: { capacity: keeper.capacity, held, oldestUse },
      degraded: degraded(),
    };
  }

  /** Blobs on their way in, without the names of repositories that not everybody may know of. */
  #fills(): Promise<readonly RunningFill[]> {
    const all = [...this.#options.fills.running];
    return Promise.all(
      all.map(async (fill) =>
        !fill.repository || (await this.#isPublic(fill.repository))
          ? fill
          : { ...fill, repository: undefined },
      ),
    );
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

  /** The page has no operator: it is for everybody who reaches the listener. */
  async #isPublic(repository: Repository): Promise<boolean> {
    return (await this.#known(this.#options.mirror.mayKnow(anonymousClient, repository))) ?? false;
  }

  async #known<T>(asked: Promise<T>): Promise<T | undefined> {
    try {
      return await asked;
    } catch (error) {
      this.#options.log.debug({ err: error }, "a part of the page cannot be shown");
      return undefined;
    }
  }
}
