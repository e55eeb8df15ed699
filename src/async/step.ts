/**
 * Where the time of a pull goes: its steps, told to whoever traces pulls. Most often nobody does, and then there is no step.
 * They stand here because the purpose of each request takes them along, from the face to the upstream's room, which may
 * know no other.
 */

/** What is known of a step, under the names that docs/operations.md lists. Never a secret, a token or a query. */
export type StepFacts = Readonly<Record<string, string | number | boolean>>;

/** A step that has begun. */
export interface TraceStep {
  /** Begins a step that is a part of this one; it may outlast it. */
  begin(name: string, facts?: StepFacts): TraceStep;
  note(facts: StepFacts): void;
  /** It is over; `error` says why it came to nothing. Called once. */
  end(error?: unknown): void;
}

/** What `run` gives or throws, as a step of `whole`; without one, `run` alone. */
export function inStep<T>(
  whole: TraceStep | undefined,
  name: string,
  facts: StepFacts,
  run: (step: TraceStep | undefined) => Promise<T>,
): Promise<T> {
  return whole === undefined ? run(undefined) : timed(whole.begin(name, facts), run);
}

async function timed<T>(step: TraceStep, run: (step: TraceStep) => Promise<T>): Promise<T> {
  try {
    const result = await run(step);
    step.end();
    return result;
  } catch (error) {
    step.end(error);
    throw error;
  }
}
