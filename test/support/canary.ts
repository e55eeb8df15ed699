/** A secret of the tests' own: where it turns up, a real one would have. */

/** What every secret in tests should contain. Nothing that Hubcap writes may, and neither may the output of a test run. */
export const canary = "hubcap~canary+7d3f";

/** A secret of its own for each field, so that a find tells which. */
export function canaryOf(field: string): string {
  return `${canary}~${field}`;
}

/** `secret` as it may be written: plain, escaped for an address or a JSON string, or somewhere within base64. */
export function formsOf(secret: string): string[] {
  const within = [0, 1, 2].map((before) => {
    const all = Buffer.from(`${"x".repeat(before)}${secret}`).toString("base64");
    // What is before and after shares a letter with what is not known.
    return all.slice(before === 0 ? 0 : 4, all.length - (all.length % 4) - 4);
  });
  return [
    secret,
    encodeURIComponent(secret),
    ...within,
    ...within.map((text) => text.replaceAll("+", "-").replaceAll("/", "_")),
  ];
}

/** The forms of `secrets` that stand in `text`. */
export function found(text: string, secrets: readonly string[]): string[] {
  return secrets.flatMap((secret) => formsOf(secret).filter((form) => text.includes(form)));
}
