/** What is wrong with this house, looked up every few seconds where it is known, for those who are told by webhook. */
import type { AlertName } from "../config/alerts.ts";
import type { OpenUpstream } from "./upstreams.ts";
import type { Snapshot } from "../quota/snapshot.ts";
import type { Trouble } from "../store/health.ts";
import type { Alert, Alerts } from "../telemetry/alerts.ts";
import type { Metrics } from "../telemetry/metrics.ts";

export interface AlertChecksOptions {
  readonly alerts: Alerts;
  readonly connected: ReadonlyMap<string, OpenUpstream>;
  readonly disk: { readonly trouble: Trouble | undefined };
  readonly metrics: Metrics;
  /** Are lines of the audit log being lost? */
  readonly isAuditFailing: () => boolean;
  /** Told why a look came to nothing. */
  readonly failed: (error: unknown) => void;
  readonly now: () => number;
}

const lookEveryMs = 5_000;

const minuteMs = 60_000;

/** How far ahead an end of the quota is told of. */
const forecastMs = 60 * minuteMs;

/** How long before its end a certificate is told of. */
const certificateMs = 14 * 24 * 60 * minuteMs;

/** What has no end of its own is over when it has not happened again for so long. */
const quietMs = { "corrupt-blob": 60 * minuteMs, stale: 10 * minuteMs, "tag-moved": 60 * minuteMs } as const;

/** Begins to look, and gives how to end that. */
export function startAlertChecks(options: AlertChecksOptions): () => void {
  const happenings = new Happenings(options.now);
  const look = async (): Promise<void> => {
    const wrong = [...upstreams(options), ...house(options), ...(await counted(options, happenings))];
    options.alerts.report(wrong, options.now());
  };
  let looking: Promise<void> | undefined;
  // One look at a time, so that an older one never has the last word.
  const turn = (): void => {
    looking ??= look()
      .catch(options.failed)
      .finally(() => (looking = undefined));
  };
  const timer = setInterval(turn, lookEveryMs).unref();
  // A quota that runs out is news at once.
  const leave = [...options.connected.values()].map(({ bucket }) =>
    bucket.on(({ type }) => type === "state" && setImmediate(turn)),
  );
  turn();
  return () => {
    clearInterval(timer);
    for (const stop of leave) stop();
  };
}

function* upstreams({ connected, now }: AlertChecksOptions): Generator<Alert> {
  for (const [subject, { bucket, registry }] of connected) {
    yield* quota(subject, bucket.snapshot(), now());
    if (registry.health.knownDown)
      yield alert("upstream-down", subject, `${subject} does not answer; what is held is served on.`);
  }
}

function* quota(subject: string, snapshot: Snapshot, now: number): Generator<Alert> {
  const { state, remaining, limit, emptyAt, nextFreeAt } = snapshot;
  const left = `${remaining ?? 0} of ${limit ?? 0} pulls are left`;
  if (state === "low" || state === "reserve" || state === "exhausted")
    yield alert("quota-low", subject, `${left} at ${subject}.`);
  if (state === "exhausted")
    yield alert(
      "quota-exhausted",
      subject,
      `No pull is left at ${subject}${nextFreeAt === null ? "" : ` until ${nextFreeAt}`}; what is held is served on.`,
    );
  else if (emptyAt !== null && Date.parse(emptyAt) - now < forecastMs)
    yield alert(
      "quota-forecast",
      subject,
      `No pull will be left at ${subject} at ${emptyAt} if the last hour goes on; ${left}.`,
    );
}

function* house({ disk, isAuditFailing }: AlertChecksOptions): Generator<Alert> {
  if (disk.trouble)
    yield alert(
      "disk",
      "storage",
      `The disk is ${disk.trouble}: what is held is served, everything else passes through.`,
    );
  if (isAuditFailing()) yield alert("audit", "audit.file", "Lines of the audit log are lost; pulls go on.");
}

/** What is only known from counters and gauges. */
async function counted({ metrics, now }: AlertChecksOptions, happenings: Happenings): Promise<Alert[]> {
  const stale = await metrics.sums(metrics.staleServed, "upstream");
  const wrong = [
    ...happenings.recent(
      "stale",
      stale,
      (subject) => `Tags of ${subject} are served unconfirmed, since it does not answer or refuses.`,
    ),
    ...happenings.recent(
      "corrupt-blob",
      await metrics.sums(metrics.quarantined),
      () => "A held blob was not what its name says. It is in quarantine and comes back with its next pull.",
    ),
    ...happenings.recent(
      "tag-moved",
      await metrics.sums(metrics.immutableMoves, "upstream"),
      (subject) =>
        `An immutable tag means something else at ${subject} than it did first, which is served on. The log says which tag.`,
    ),
  ];
  for (const { subject, endsAt } of await certificateEnds(metrics)) {
    if (endsAt - now() < certificateMs)
      wrong.push(
        alert(
          "certificate",
          subject,
          `The certificate of ${subject} ends at ${new Date(endsAt).toISOString()}.`,
        ),
      );
  }
  return wrong;
}

/** When certificates end (ms since the epoch): the listeners' own and those of upstreams, each by the gauge's one label. */
async function certificateEnds({
  certificateExpiry,
  upstreamCertificateExpiry,
}: Metrics): Promise<{ readonly subject: string; readonly endsAt: number }[]> {
  const gauges = await Promise.all([certificateExpiry.get(), upstreamCertificateExpiry.get()]);
  return gauges.flatMap(({ values }) =>
    values.map(({ labels, value }) => ({ subject: Object.values(labels).join(" "), endsAt: value * 1000 })),
  );
}

/** What happens now and then: when each counter was last seen to have grown. */
class Happenings {
  readonly #now: () => number;
  readonly #seen = new Map<string, { readonly sum: number; readonly at: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  *recent(
    event: keyof typeof quietMs,
    sums: ReadonlyMap<string, number>,
    summary: (subject: string) => string,
  ): Generator<Alert> {
    for (const [subject, sum] of sums) {
      const key = `${event} ${subject}`;
      const last = this.#seen.get(key);
      if (sum > (last?.sum ?? 0)) this.#seen.set(key, { sum, at: this.#now() });
      const at = this.#seen.get(key)?.at;
      if (at !== undefined && Math.abs(this.#now() - at) < quietMs[event])
        yield alert(event, subject, summary(subject));
    }
  }
}

function alert(event: AlertName, subject: string, summary: string): Alert {
  return { event, subject, summary };
}
