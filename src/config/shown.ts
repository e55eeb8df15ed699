/** How what is written in a configuration may be shown without telling a secret. */
import { settingAt } from "./settings.ts";

/**
 * How a value may be shown. Only single values of known settings that are not secrets are, since a secret can stand
 * under a misspelt key or where a section belongs.
 */
export function shown(path: readonly string[], value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  const type = settingAt(path)?.type ?? "section";
  // A token that was written where a list of mappings belongs is a secret too.
  if (type === "section" || type === "list of sections")
    return typeof value === "string" ? "text" : `a ${typeof value}`;
  if (type === "secret") return "***";
  // A URL may carry a password before its host, or a token in its query.
  return JSON.stringify(value)
    .replace(/\/\/.*@/, "//***@")
    .replace(/\?.*(?=")/, "?***");
}
