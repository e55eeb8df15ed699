/** Files of other programs on a node: written whole or not at all, and never over what somebody else wrote. */
import { randomBytes } from "node:crypto";
import { open, readdir, readFile, rename, rmdir, unlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { makeFolder } from "../store/folder.ts";
import { isOurs, type NodeFile, type Runtime } from "./runtimes/clientSettings.ts";

/** What was done to a file. */
export interface FileChange {
  readonly change: "wrote" | "kept" | "removed";
  readonly path: string;
}

/**
 * Makes the files below `folder` these and, of those that we wrote before, no others. Those that hold `secret` are for their
 * owner alone.
 * @throws Error, before anything is changed, when a file is there that we did not write.
 */
export async function writeFiles(
  runtime: Runtime,
  folder: string,
  files: readonly NodeFile[],
  secret?: string,
): Promise<FileChange[]> {
  const there = await Promise.all(files.map(({ path }) => textOf(join(folder, path))));
  const strangers = files.filter((_, at) => !isOurs(there[at] ?? files[at]?.text ?? ""));
  if (strangers.length > 0) {
    const names = strangers.map(({ path }) => join(folder, path)).join(", ");
    throw new Error(
      `${names} was not written by hubcap client-config and is left as it is: move it away, or add by hand what is printed without --write`,
    );
  }
  const changes: FileChange[] = [];
  for (const [at, file] of files.entries()) {
    const path = join(folder, file.path);
    if (there[at] === file.text) {
      changes.push({ change: "kept", path });
      continue;
    }
    const isSecret = secret !== undefined && file.text.includes(secret);
    await put(path, file.text, isSecret ? 0o600 : 0o644);
    changes.push({ change: "wrote", path });
  }
  const wanted = new Set(files.map(({ path }) => path));
  return [...changes, ...(await removeFiles(runtime, folder, (path) => !wanted.has(path)))];
}

/** Removes what we wrote below `folder`, and folders that are empty then. */
export async function removeFiles(
  runtime: Runtime,
  folder: string,
  fits: (path: string) => boolean = () => true,
): Promise<FileChange[]> {
  const changes: FileChange[] = [];
  for (const path of await namesBelow(folder)) {
    if (!runtime.owns.test(path) || !fits(path)) continue;
    const whole = join(folder, path);
    if (!isOurs((await textOf(whole)) ?? "")) continue;
    await unlink(whole);
    changes.push({ change: "removed", path: whole });
    await removeEmpty(dirname(whole), folder);
  }
  return changes;
}

async function put(path: string, text: string, mode: number): Promise<void> {
  makeFolder(dirname(path));
  // With a dot and another ending: no runtime takes it for one of its files.
  const draft = join(dirname(path), `.hubcap-${randomBytes(6).toString("hex")}.tmp`);
  try {
    const file = await open(draft, "wx", mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await unlink(draft).catch(() => undefined);
    throw error;
  }
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** How deep below its folder a runtime's file lies at most. What is deeper is not ours, and may be a whole disk. */
const deepest = 3;

async function namesBelow(folder: string, depth = deepest): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    if (isAbsence(error)) return [];
    throw error;
  });
  const names = entries.map(async (entry) => {
    if (!entry.isDirectory()) return [entry.name];
    if (depth === 1) return [];
    const below = await namesBelow(join(folder, entry.name), depth - 1);
    return below.map((name) => join(entry.name, name));
  });
  return (await Promise.all(names)).flat();
}

/** Removes `folder` and those above it up to `end`, as far as nothing is in them. */
async function removeEmpty(folder: string, end: string): Promise<void> {
  if (relative(end, folder) === "") return;
  try {
    await rmdir(folder);
  } catch {
    return;
  }
  await removeEmpty(dirname(folder), end);
}

function isAbsence(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
