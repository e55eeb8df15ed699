/** The steps of a diagnosis: each with its time, how it went and what was seen. */

/** Of what a step is part: reading the name, the way through the mirror, or the way straight to the registry. */
export type Way = "image" | "mirror" | "straight";

export interface Step {
  readonly way: Way;
  readonly name: string;
  readonly state: "ok" | "warning" | "failed" | "skipped";
  /** Milliseconds that it took. */
  readonly ms: number;
  readonly text: string;
}

/** What a step saw that is not as it should be, though the pull goes on. */
export class Doubt {
  readonly state = "warning";
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Why a step could not look. */
export class Omission {
  readonly state = "skipped";
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What a step has to say. */
export type Said = string | Doubt | Omission;

/** Milliseconds since a moment of `performance.now()`, as people read them. */
export function msSince(started: number): number {
  return Math.round((performance.now() - started) * 10) / 10;
}

export class Journal {
  readonly steps: Step[] = [];
  readonly #tell: (step: Step) => void;

  constructor(tell: (step: Step) => void) {
    this.#tell = tell;
  }

  /** Runs a step and writes down what it says. @throws what `work` throws, written down as a failure. */
  async run(way: Way, name: string, work: () => Promise<Said> | Said): Promise<void> {
    const started = performance.now();
    try {
      const said = await work();
      const { state, text } = typeof said === "string" ? { state: "ok" as const, text: said } : said;
      this.note({ way, name, state, ms: msSince(started), text });
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.note({ way, name, state: "failed", ms: msSince(started), text });
      throw error;
    }
  }

  /** Writes down a step that was not made, and why. */
  skip(way: Way, name: string, text: string): void {
    this.note({ way, name, state: "skipped", ms: 0, text });
  }

  note(step: Step): void {
    this.steps.push(step);
    this.#tell(step);
  }
}
