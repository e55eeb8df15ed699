/**
 * Steps of a pull, for tracing. If pulls are not traced, there are none.
 * They are in this module because each request carries them from the listener to `upstream/`, which may import no
 * module that they could be in otherwise.
 */

/** What is known of a step, under the names that docs/operations.md lists. Never a secret, a token or a query. */
export type StepFacts = Readonly<Record<string, string | number | boolean>>;

/** A step that has begun. */
export interface TraceStep {
  /** Begins a step that is a part of this one; it may outlast it. */
  begin(name: string, facts?: StepFacts): TraceStep;
  note(facts: StepFacts): void;
  /** Ends the step; `error` says why it failed. Called once. */
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
