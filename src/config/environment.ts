/** Settings from environment variables: every setting and section has one, and no other `HUBCAP_` name is accepted. */
import type { Issue } from "./issue.ts";
import { removedSettings, settings, variableOf, type Setting } from "./settings.ts";
import { nearest } from "./suggest.ts";
import { hostsIn, put, type Tree } from "./tree.ts";
import { readYaml } from "./yaml.ts";

/**
 * Kubernetes puts the addresses of a namespace's Services into every pod. A Service called `hubcap` or `hubcap-status`
 * makes names like these, and they are no settings.
 */
const serviceLink =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;

/**
 * Writes what the environment sets into the tree, sections before the settings in them.
 * Returns the variables that were used, each with its path, and an issue for each that is unknown, ambiguous or not YAML.
 * Upstreams are known by the hosts in the tree, or else by `defaultHosts`: a variable never adds one of its own.
 */
export function applyEnvironment(
  tree: Tree,
  env: Readonly<Record<string, string | undefined>>,
  defaultHosts: readonly string[],
): { readonly used: ReadonlyMap<string, readonly string[]>; readonly issues: readonly Issue[] } {
  const known = new Map<string, readonly string[]>();
  const used = new Map<string, readonly string[]>();
  const issues: Issue[] = [];
  for (const setting of settings) {
    for (const path of placesOf(setting, hostsIn(tree) ?? defaultHosts)) {
      const variable = variableOf(path);
      const text = env[variable];
      const other = known.get(variable);
      known.set(variable, path);
      if (text === undefined) continue;
      if (other !== undefined) {
        const value = `a name for both ${other.join(".")} and ${path.join(".")}`;
        issues.push({ path: variable, value, expected: "these settings to be made in the file" });
        continue;
      }
      const read = setting.text ? { value: text } : readYaml(text);
      if ("value" in read) {
        used.set(variable, path);
        put(tree, path, read.value);
      } else {
        for (const { reason } of read.flaws) issues.push({ path: variable, value: reason, expected: "YAML" });
      }
    }
  }
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith("HUBCAP_") || known.has(variable) || serviceLink.test(variable)) continue;
    const removed = [...removedSettings].find(([path]) => variableOf(path.split(".")) === variable)?.[1];
    const meant = nearest(variable, known.keys());
    const expected =
      removed ?? `the name of a setting${meant === undefined ? "" : `; did you mean ${meant}?`}`;
    issues.push({ path: variable, value: "an unknown variable", expected });
  }
  return { used, issues };
}

/** The paths of a setting, one for each host where it belongs to an upstream. */
function placesOf({ path }: Setting, hosts: readonly string[]): readonly (readonly string[])[] {
  if (!path.includes("*")) return [path];
  return hosts.map((host) => path.map((key) => (key === "*" ? host : key)));
}
