/** What is wrong with a configuration, said so that it can be mended and without telling a secret. */

/** One thing that is wrong. */
export interface Issue {
  /** The setting's path, the environment variable's name, or `file:line:column`. */
  readonly path: string;
  /** What stands there, as text; secrets are masked. */
  readonly value: string;
  readonly expected: string;
}

/** Reports what is wrong at a path of the written configuration. */
export type Report = (path: readonly string[], expected: string) => void;

/** The configuration cannot be used; the message lists every issue on a line of its own. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly issues: readonly Issue[];

  constructor(issues: readonly Issue[]) {
    super(
      issues.map(({ path, value, expected }) => `${path}: got ${value}, expected ${expected}`).join("\n"),
    );
    this.issues = issues;
  }
}
