/** Reads the written configuration by the schema, and says in one sentence each what was expected where it is wrong. */
import type { z } from "zod";
import type { Report } from "./issue.ts";
import { schema, type Settings } from "./schema.ts";
import { keysAt, removedSettings } from "./settings.ts";
import { nearest } from "./suggest.ts";
import { prune, type Tree } from "./tree.ts";

/**
 * The settings in the tree. What is wrong is reported and pruned, and the rest read again, so that the rules that join
 * settings can be checked for those that are right; after a report the result must not be used for anything else.
 */
export function settle(tree: Tree, report: Report): Settings {
  for (;;) {
    const read = schema.safeParse(tree, { error: expectation });
    if (read.success) return read.data;
    for (const { at, expected } of read.error.issues.flatMap(findings)) {
      report(at, expected);
      prune(tree, at);
    }
  }
}

/** What one issue of the schema finds: unknown keys come together in one, anything else alone. */
function findings(issue: z.core.$ZodIssue): { readonly at: readonly string[]; readonly expected: string }[] {
  const at = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") return [{ at, expected: issue.message }];
  return issue.keys.map((key) => ({ at: [...at, key], expected: knownKeys(at, key) }));
}

/** What the schema expected, for kinds of value that do not say it themselves. */
function expectation(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return typeNames[issue.expected] ?? issue.expected;
    case "invalid_value":
      return issue.values.join(" or ");
    case "invalid_key":
      return issue.issues[0]?.message ?? "another key";
    case "too_small":
      return issue.origin === "string" ? "text" : `at least ${issue.minimum}`;
    default:
      return "another value";
  }
}

const typeNames: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  int: "a whole number",
  number: "a number",
  object: "a mapping",
  record: "a mapping",
  string: "text",
};

function knownKeys(section: readonly string[], key: string): string {
  const removed = removedSettings.get([...section, key].join("."));
  if (removed !== undefined) return removed;
  const keys = keysAt(section);
  const meant = nearest(key, keys);
  return meant === undefined ? `one of ${keys.join(", ")}` : `a known setting; did you mean ${meant}?`;
}
