/** Alerts: a message to webhooks when a problem begins, and one when it ends. */

/** Something that is wrong now. */
export interface Alert {
  readonly event: string;
  /** The upstream, listener or disk that it is about. */
  readonly subject: string;
  /** One sentence for people. */
  readonly summary: string;
}

/** A message to a webhook. Times are RFC 3339; `since` is when the problem began. */
export interface AlertMessage extends Alert {
  readonly state: "firing" | "resolved";
  readonly since: string;
  readonly at: string;
  /** The host of this Hubcap. */
  readonly instance: string;
}

/** A webhook, and the events that are sent to it. */
export interface Hook {
  /** Queues a message; returns at once. */
  readonly webhook: { send(message: AlertMessage): void };
  readonly on: readonly string[];
  /** The least time in ms between two messages about one event of one subject. */
  readonly minIntervalMs: number;
}

/** The last message to a hook about one event of one subject. */
interface Sent {
  readonly alert: Alert;
  readonly state: AlertMessage["state"];
  readonly since: number;
  readonly at: number;
}

export class Alerts {
  readonly #hooks: readonly (Hook & { readonly sent: Map<string, Sent> })[];
  readonly #instance: string;

  constructor(hooks: readonly Hook[], instance: string) {
    this.#hooks = hooks.map((hook) => ({ ...hook, sent: new Map() }));
    this.#instance = instance;
  }

  /**
   * Takes all that is wrong at `now`, and sends a message for each problem that began or ended since the last call. A problem
   * that comes and goes within a hook's interval is reported by its state at the end of the interval.
   */
  report(wrong: Iterable<Alert>, now: number): void {
    const current = new Map([...wrong].map((alert) => [`${alert.event} ${alert.subject}`, alert]));
    for (const { webhook, on, minIntervalMs, sent } of this.#hooks) {
      for (const [key, alert] of current) {
        if (!on.includes(alert.event)) continue;
        const last = sent.get(key);
        if (last?.state === "firing" || isTooSoon(last, now, minIntervalMs)) continue;
        const next = { alert, state: "firing", since: now, at: now } as const;
        sent.set(key, next);
        webhook.send(this.#message(next));
      }
      for (const [key, last] of sent) {
        if (current.has(key) || isTooSoon(last, now, minIntervalMs)) continue;
        if (last.state === "resolved") {
          sent.delete(key);
          continue;
        }
        const next = { ...last, state: "resolved", at: now } as const;
        sent.set(key, next);
        webhook.send(this.#message(next));
      }
    }
  }

  #message({ alert, state, since, at }: Sent): AlertMessage {
    const { event, subject, summary } = alert;
    return { event, state, subject, summary, since: time(since), at: time(at), instance: this.#instance };
  }
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

/** A clock that went back must not silence a hook. */
function isTooSoon(last: Sent | undefined, now: number, minIntervalMs: number): boolean {
  return last !== undefined && Math.abs(now - last.at) < minIntervalMs;
}
