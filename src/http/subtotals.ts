/** Answers that are counted together: where each one would be counted by itself, that cost more than the rest of writing it down. */
import type { AnsweredRequests, RequestSums } from "./requestSums.ts";

type Subtotal = { -readonly [key in keyof AnsweredRequests]-?: AnsweredRequests[key] } & {
  readonly seconds: number[];
};

/** Adds up answers that are alike until they are taken. */
export class Subtotals implements RequestSums {
  #answers = new Map<string, Subtotal>();

  get isEmpty(): boolean {
    return this.#answers.size === 0;
  }

  add({ upstream, kind, outcome, seconds, bytes, savedPulls = 0, savedBytes = 0 }: AnsweredRequests): void {
    const key = `${upstream} ${kind} ${outcome}`;
    const known = this.#answers.get(key);
    if (!known) {
      const first = { upstream, kind, outcome, seconds: [...seconds], bytes, savedPulls, savedBytes };
      this.#answers.set(key, first);
      return;
    }
    known.seconds.push(...seconds);
    known.bytes += bytes;
    known.savedPulls += savedPulls;
    known.savedBytes += savedBytes;
  }

  /** All there is, which is then gone from here. */
  take(): AnsweredRequests[] {
    const answers = [...this.#answers.values()];
    this.#answers = new Map();
    return answers;
  }
}

/** `sums`, told once of all answers that are alike in one turn of the event loop. */
export function inTurns(sums: RequestSums): RequestSums {
  const subtotals = new Subtotals();
  const tell = (): void => {
    for (const answers of subtotals.take()) sums.add(answers);
  };
  return {
    add(answers) {
      if (subtotals.isEmpty) setImmediate(tell);
      subtotals.add(answers);
    },
  };
}
