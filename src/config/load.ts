/** File and environment become one frozen Config, or all that is wrong with them at once. */
import { readFileSync } from "node:fs";
import { applyEnvironment } from "./environment.ts";
import { ConfigError, type Issue, type Report } from "./issue.ts";
import { checkRules } from "./crossChecks.ts";
import { schema, type Settings } from "./schema.ts";
import type { Glob } from "../oci/glob.ts";
import type { Secret } from "./secret.ts";
import { settingAt } from "./settings.ts";
import { settle } from "./settle.ts";
import { hostsIn, isTree, valueAt, type Tree } from "./tree.ts";
import { completeUpstream, type Known, type UpstreamConfig } from "./upstream.ts";
import { readYaml } from "./yaml.ts";

/** The whole configuration. Durations are milliseconds, sizes bytes, shares fractions from 0 to 1. */
export type Config = DeepReadonly<
  Omit<Settings, "upstreams" | "admin"> & {
    upstreams: Record<string, UpstreamConfig>;
    admin: { token?: Secret };
  }
>;

type DeepReadonly<T> = T extends string | Secret | RegExp | Glob
  ? T
  : { readonly [Key in keyof T]: DeepReadonly<T[Key]> };

/** Where a configuration comes from. */
export interface Sources extends Known {
  /** The path of the YAML file. */
  readonly file: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The configuration: the environment overrides the file, and the file the default. @throws ConfigError with every issue */
export function loadConfig(sources: Sources): Config {
  const written = readTree(sources.file);
  const { used, issues } = applyEnvironment(written, sources.env, Object.keys(schema.parse({}).upstreams));
  const found = [...issues];
  const report = reporter(written, used, found);
  const settings = settle(structuredClone(written), report);
  checkRules(settings, hostsIn(written) ?? Object.keys(settings.upstreams), report);
  const config = complete(settings, sources, report);
  if (found.length > 0) throw new ConfigError(found);
  return freeze(config);
}

function readTree(file: string): Tree {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const value = error instanceof Error && "code" in error ? String(error.code) : "an error";
    throw new ConfigError([{ path: file, value, expected: "a readable YAML file" }]);
  }
  const read = readYaml(text);
  if ("flaws" in read) {
    throw new ConfigError(
      read.flaws.map(({ line, column, reason }) => ({
        path: `${file}:${line}:${column}`,
        value: reason,
        expected: "YAML",
      })),
    );
  }
  if (read.value === null) return {};
  if (isTree(read.value)) return read.value;
  throw new ConfigError([{ path: file, value: shown([], read.value), expected: "a mapping of settings" }]);
}

/** Collects what is reported, with the value that was written and the variable that wrote it. */
function reporter(written: Tree, used: ReadonlyMap<string, readonly string[]>, found: Issue[]): Report {
  const reported: string[] = [];
  return (path, expected) => {
    const name = path.join(".");
    // What depends on a value that is known to be wrong says nothing new.
    if (reported.some((other) => `${other}.`.startsWith(`${name}.`))) return;
    reported.push(name);
    const variable = [...used].findLast(([, at]) => at.every((key, index) => key === path[index]))?.[0];
    const value = shown(path, valueAt(written, path) ?? settingAt(path)?.default);
    found.push({ path: variable === undefined ? name : `${name} (${variable})`, value, expected });
  };
}

function complete({ upstreams, admin, ...settings }: Settings, known: Known, report: Report): Config {
  const completed = Object.entries(upstreams).map(([host, upstream]) => {
    const here: Report = (path, expected) => report(["upstreams", host, ...path], expected);
    return [host, completeUpstream(host, upstream, settings.quota.reserve, known, here)] as const;
  });
  return {
    ...settings,
    admin: admin.tokenFile === undefined ? {} : { token: admin.tokenFile },
    upstreams: Object.fromEntries(completed),
  };
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
}

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
