/** The configuration as it was written: plain mappings, lists and values that can be read and changed by path. */

/** A mapping of the written configuration. */
export type Tree = Record<string, unknown>;

/** Whether a value is a mapping. */
export function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The source hosts under `upstreams`; undefined where nothing is written there, and none where it is no mapping. */
export function hostsIn(tree: Tree): readonly string[] | undefined {
  const upstreams = tree["upstreams"];
  return upstreams === undefined ? undefined : Object.keys(isTree(upstreams) ? upstreams : {});
}

/** The value at a path, or undefined. */
export function valueAt(tree: Tree, path: readonly string[]): unknown {
  let value: unknown = tree;
  for (const key of path)
    value = Array.isArray(value) ? value[Number(key)] : isTree(value) ? value[key] : undefined;
  return value;
}

/** Puts a value at a path and makes the mappings on the way; where something else is in the way, it stays as it is. */
export function put(tree: Tree, path: readonly string[], value: unknown): void {
  const [key = "", ...rest] = path;
  if (rest.length === 0) tree[key] = value;
  else {
    if (tree[key] === undefined) tree[key] = {};
    const child = tree[key];
    if (isTree(child)) put(child, rest, value);
  }
}

/**
 * Takes away what is at a path; an element of a list takes the list with it, and a setting that is missing its section.
 * Says whether there was anything.
 */
export function prune(tree: Tree, path: readonly string[]): boolean {
  const [key = "", ...rest] = path;
  const child = tree[key];
  if (rest.length > 0 && isTree(child) && prune(child, rest)) return true;
  return Object.hasOwn(tree, key) && delete tree[key];
}
