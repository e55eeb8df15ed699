/** What happens to the store, for operators: one log line and one metric each. */
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** The events of the store, as the store declares them. */
export function storageEvents(log: Log, metrics: Metrics) {
  return {
    condemned(digest: string, flaw: string): void {
      metrics.quarantined.inc({ reason: flaw });
      log.error(
        { digest, flaw },
        "a blob was not what its name says: moved to quarantine, fetched again when asked for",
      );
    },
    catalogReplaced(aside: string, error: unknown): void {
      metrics.catalogsReplaced.inc();
      log.error({ err: error, aside }, "the catalog is damaged: set aside, and built anew from the blobs");
    },
    stateReplaced(
      { aside, isRestored }: { readonly aside: string | undefined; readonly isRestored: boolean },
      error: unknown,
    ): void {
      metrics.statesReplaced.inc();
      const how = isRestored ? "restored from its backup" : "made anew, for want of a backup";
      log.error(
        { err: error, aside },
        `the state (pins, immutable tags, quota ledger) was damaged or lost, and ${how}: quotas count as used up until their upstreams say what is left, and immutable tags that are not known are refused, until hubcap fsck --repair confirms it`,
      );
    },
    adopted(count: number): void {
      log.info({ count }, "blobs without a row in the catalog have one again");
    },
    scrubbed(bytes: number): void {
      metrics.scrubbedBytes.inc(bytes);
    },
    failed(error: unknown): void {
      log.error({ err: error }, "looking after the store failed; it is tried again");
    },
    trouble(trouble: "full" | "failing" | undefined): void {
      for (const reason of ["full", "failing"]) metrics.degraded.set({ reason }, Number(reason === trouble));
      if (trouble)
        log.error({ reason: trouble }, "degraded: what is held is served, everything else passes through");
      else log.info("the disk takes blobs again");
    },
  };
}
