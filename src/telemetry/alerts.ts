/** What is wrong, told to webhooks when it begins and when it is over. */

/** Something that is wrong now. */
export interface Alert {
  readonly event: string;
  /** The upstream, listener or disk that it is about. */
  readonly subject: string;
  /** One sentence for people. */
  readonly summary: string;
}

/** What a webhook is told. Times are RFC 3339; `since` is when it began. */
export interface AlertMessage extends Alert {
  readonly state: "firing" | "resolved";
  readonly since: string;
  readonly at: string;
  /** Which Hubcap says so. */
  readonly instance: string;
}

/** A webhook, and what it is to be told of. */
export interface Hook {
  /** Takes messages at once, whatever comes of them. */
  readonly webhook: { send(message: AlertMessage): void };
  readonly on: readonly string[];
  /** The least time in ms between two messages about one event of one subject. */
  readonly minIntervalMs: number;
}

/** What a hook was told last of one event of one subject. */
interface Told {
  readonly alert: Alert;
  readonly state: AlertMessage["state"];
  readonly since: number;
  readonly at: number;
}

export class Alerts {
  readonly #hooks: readonly (Hook & { readonly told: Map<string, Told> })[];
  readonly #instance: string;

  constructor(hooks: readonly Hook[], instance: string) {
    this.#hooks = hooks.map((hook) => ({ ...hook, told: new Map() }));
    this.#instance = instance;
  }

  /**
   * All that is wrong at `now`: what was not before begins, and what is not any more is over. To be called again and
   * again; a hook hears of changes alone, and of what comes and goes only where it stands when its interval is over.
   */
  report(wrong: Iterable<Alert>, now: number): void {
    const current = new Map([...wrong].map((alert) => [`${alert.event} ${alert.subject}`, alert]));
    for (const { webhook, on, minIntervalMs, told } of this.#hooks) {
      for (const [key, alert] of current) {
        if (!on.includes(alert.event)) continue;
        const last = told.get(key);
        if (last?.state === "firing" || isTooSoon(last, now, minIntervalMs)) continue;
        const next = { alert, state: "firing", since: now, at: now } as const;
        told.set(key, next);
        webhook.send(this.#message(next));
      }
      for (const [key, last] of told) {
        if (current.has(key) || isTooSoon(last, now, minIntervalMs)) continue;
        if (last.state === "resolved") {
          told.delete(key);
          continue;
        }
        const next = { ...last, state: "resolved", at: now } as const;
        told.set(key, next);
        webhook.send(this.#message(next));
      }
    }
  }

  #message({ alert, state, since, at }: Told): AlertMessage {
    const { event, subject, summary } = alert;
    return { event, state, subject, summary, since: time(since), at: time(at), instance: this.#instance };
  }
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

/** A clock that went back must not silence a hook. */
function isTooSoon(last: Told | undefined, now: number, minIntervalMs: number): boolean {
  return last !== undefined && Math.abs(now - last.at) < minIntervalMs;
}
