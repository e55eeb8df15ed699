/** The settings as a list, read off the schema: what the environment, the documentation and the issues go by. */
import { z } from "zod";
import { schema } from "./schema.ts";

/** A setting or a section of settings. */
export interface Setting {
  /** The keys that lead to it; `*` stands for any source host. */
  readonly path: readonly string[];
  /** The kind of value, in one or two words; `section` for a mapping of settings. */
  readonly type: string;
  /** Whether the value is text, which an environment variable holds as it is. */
  readonly text: boolean;
  readonly default: unknown;
  readonly description: string;
}

type Node = z.core.JSONSchema.JSONSchema;

const plainTypes: Readonly<Record<string, string>> = {
  boolean: "true or false",
  integer: "whole number",
  number: "number",
};

/** The JSON Schema (draft 2020-12) of the configuration file. */
export const jsonSchema: Node = z.toJSONSchema(schema, { io: "input" });

/** All sections and settings, in the order of the schema. */
export const settings: readonly Setting[] = [...walk(jsonSchema, [])].slice(1);

/** The setting at a path of the configuration; an element of a list belongs to the list's setting. */
export function settingAt(path: readonly string[]): Setting | undefined {
  return settings.find((setting) => {
    const inList = setting.type.startsWith("list") && path.length === setting.path.length + 1;
    return leadsTo(setting.path, inList ? path.slice(0, -1) : path);
  });
}

/** Settings that were removed, by path, and what is to be used instead. */
export const removedSettings: ReadonlyMap<string, string> = new Map([
  [
    "identities.ownCredentials",
    "this setting to be left out: it was removed, because clients' passwords are no longer sent upstream; give clients a token (identities.tokens) or a password (identities.htpasswdFile) and name them in a rule of access",
  ],
]);

/** The keys that a section at a path may have; the path may lead through hosts and elements of lists. */
export function keysAt(section: readonly string[]): string[] {
  let node: Node = jsonSchema;
  for (const key of section) {
    const next = node.properties?.[key] ?? node.additionalProperties ?? node.items;
    node = typeof next === "object" && !Array.isArray(next) ? next : {};
  }
  return Object.keys(node.properties ?? {});
}

function leadsTo(pattern: readonly string[], path: readonly string[]): boolean {
  return pattern.length === path.length && pattern.every((key, index) => key === "*" || key === path[index]);
}

/** The environment variable of a path: `freshness.tagTtl` is `HUBCAP_FRESHNESS_TAG_TTL`. */
export function variableOf(path: readonly string[]): string {
  const words = path.map((key) =>
    key.replaceAll(/(?<=[a-z0-9])(?=[A-Z])/g, "_").replaceAll(/[^A-Za-z0-9]/g, "_"),
  );
  return ["HUBCAP", ...words].join("_").toUpperCase();
}

function* walk(node: Node, path: readonly string[]): Generator<Setting> {
  yield {
    path,
    type: typeOf(node),
    text: node.type === "string",
    default: node.default,
    description: node.description ?? "",
  };
  for (const [key, child] of Object.entries(node.properties ?? {})) {
    if (typeof child === "object") yield* walk(child, [...path, key]);
  }
  if (typeof node.additionalProperties === "object") yield* walk(node.additionalProperties, [...path, "*"]);
}

function typeOf(node: Node): string {
  if (node.type === "object") return "section";
  if (node.type === "array")
    return `list of ${typeof node.items === "object" ? typeOf(node.items as Node) : "value"}s`;
  if (node.enum !== undefined) return node.enum.join(" or ");
  return typeof node["x-type"] === "string" ? node["x-type"] : (plainTypes[String(node.type)] ?? "text");
}
