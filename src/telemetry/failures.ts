/** The last requests that failed, and why, for the page. In memory only. */

/** What kept clients from an image. */
export interface Failure {
  /** When it happened last, in ms since the epoch. */
  readonly at: number;
  readonly count: number;
  /** The last client. */
  readonly client: string;
  /** Such as `docker.io/library/nginx:1.29`. */
  readonly image: string;
  /** The HTTP status. */
  readonly status: number;
  /** The message that the client got. */
  readonly reason: string;
}

/** How many are kept. */
const most = 20;

export class Failures {
  readonly #now: () => number;
  #kept: readonly Failure[] = [];

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** Newest first. */
  get last(): readonly Failure[] {
    return this.#kept;
  }

  /** Runtimes retry, and many clients pull the same image: equal failures are counted, not listed again. */
  note(failure: Omit<Failure, "at" | "count">): void {
    const isSame = ({ image, status }: Failure): boolean =>
      image === failure.image && status === failure.status;
    const before = this.#kept.find(isSame);
    const newest = { ...failure, at: this.#now(), count: (before?.count ?? 0) + 1 };
    this.#kept = [newest, ...this.#kept.filter((kept) => kept !== before)].slice(0, most);
  }
}
