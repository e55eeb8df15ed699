/** What is fuzzed: a parser of what strangers send, examples of it, and what must hold whatever comes. */

export interface FuzzTarget {
  /** Where fuzzing begins. */
  readonly seeds: readonly string[];
  /** The operator wrote it, who may take Hubcap's time. */
  readonly isTrusted?: true;
  /** Reads `data`. @throws when something happens that must not. */
  run(data: Buffer): void;
}

/** Runs `read`, which may throw `ours` and nothing else. */
export function refusing<T>(ours: new (...args: never[]) => Error, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof ours) return undefined;
    throw error;
  }
}

/** @throws unless `isSo`. */
export function must(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(`it does not hold that ${what}`);
}

/** The parts of an input for parsers of several things: lines of it, the last with all the rest. */
export function parts(data: Buffer, count: number): string[] {
  const lines = data.toString("latin1").split("\n");
  return [...lines.slice(0, count - 1), lines.slice(count - 1).join("\n")];
}
