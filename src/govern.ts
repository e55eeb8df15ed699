/** The third part of the composition: what may be pulled, as the configuration says, and what it tells of itself. */
import type { Config } from "./config/load.ts";
import type { PolicyEvent, PolicySettings } from "./mirror/policy.ts";
import { formatImage, formatRepository } from "./oci/reference.ts";
import { SqliteFindings } from "./store/findings.ts";
import type { LiveDatabase } from "./store/live.ts";
import type { Log } from "./telemetry/log.ts";
import type { Metrics } from "./telemetry/metrics.ts";

type Listener = (event: PolicyEvent) => void;

/** The mirror's policy, and who tells of what it meets. */
export async function govern(config: Config, database: LiveDatabase, log: Log, metrics: Metrics) {
  const listeners = new Set<Listener>([(event) => record(event, log, metrics)]);
  const { rules, immutableTags } = config.policy;
  const policy: PolicySettings = {
    rules,
    immutableTags,
    verify: [],
    findings: database.over((handle) => new SqliteFindings(handle)),
    tell: (event) => listeners.forEach((listener) => listener(event)),
  };
  const policyEvents = {
    on(listener: Listener): () => void {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  return { policy, policyEvents };
}

/** Counts and logs an event. Why a request was refused stands in the request's own line. */
function record(event: PolicyEvent, log: Log, metrics: Metrics): void {
  const { upstream } = event.repository;
  if (event.type === "refused") {
    metrics.policyRefusals.inc({ upstream, reason: event.reason });
    return;
  }
  const { repository, tag, first, now } = event;
  metrics.immutableMoves.inc({ upstream });
  log.error(
    { upstream, repository: formatRepository(repository), tag, first, now },
    `the immutable tag ${formatImage(repository, tag)} has moved upstream: ${first} is served on; find out who moved it and why`,
  );
}
