/** What a function that may throw came to, as a value that a test can look at. */

/** What `run` returned, or what it threw. */
export function outcome(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}

/** The error of class `kind` that `run` threw. Anything else fails the test. */
export function failure<E extends Error>(kind: abstract new (...args: never) => E, run: () => unknown): E {
  const error = outcome(run);
  if (error instanceof kind) return error;
  throw new Error(`expected a ${kind.name}`, { cause: error });
}
