/** Who may import whom: the table of oxlint.config.ts, held against every import under src. */
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { mayImport, mayImportTypes } from "../../oxlint.config.ts";

/** Names that say nothing of what a file is about, and so gather everything. */
const namelessFiles = /^(?:index|utils?|helpers?|common|shared|types)\.ts$/;

interface Import {
  /** By its path under src. */
  readonly target: string;
  /** `import type` and `export type`: what is gone when the program runs. */
  readonly isType: boolean;
}

/** File -> what it imports. */
type Imports = Readonly<Record<string, readonly Import[]>>;

const source = path.resolve(import.meta.dirname, "../../src");

function readImports(): Imports {
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  return Object.fromEntries(
    files.map((file) => [file, importsOf(file, readFileSync(path.join(source, file), "utf8"))]),
  );
}

/** Static, dynamic, re-exporting and type imports: all of them tie two files together. */
function importsOf(file: string, text: string): Import[] {
  const found = text.matchAll(
    /\b(?<type>(?:import|export) type [^;]*?)?\b(?:from|import)\s*\(?\s*["'](?<path>\.[^"']+\.ts)["']/g,
  );
  return [...found].map(({ groups = {} }) => ({
    target: path.join(path.dirname(file), groups["path"] ?? ""),
    isType: groups["type"] !== undefined,
  }));
}

/** The module of a file under src; main.ts is in none. */
function moduleOf(file: string): string {
  return file.includes("/") ? (file.split("/")[0] ?? "") : file;
}

function forbiddenImports(imports: Imports): string[] {
  return Object.entries(imports).flatMap(([file, targets]) =>
    targets.filter((one) => !isAllowed(moduleOf(file), one)).map(({ target }) => `${file} -> ${target}`),
  );
}

function isAllowed(from: string, { target, isType }: Import): boolean {
  const to = moduleOf(target);
  if (from === to) return true;
  if (from === "main.ts") return to !== target;
  return isType ? mayImportTypes(from).has(to) : (mayImport[from]?.includes(to) ?? false);
}

/** The first way found from a file back to itself. */
function findCycle(imports: Imports): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const { target } of imports[file] ?? []) {
      const cycle = visit(target, [...way, file]);
      if (cycle !== undefined) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of Object.keys(imports)) {
    const cycle = visit(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

describe("src", () => {
  const imports = readImports();
  const files = Object.keys(imports);

  test("has main.ts, and modules that the table knows", () => {
    const modules = new Set(files.map(moduleOf));
    expect([...modules].filter((module) => mayImport[module] === undefined)).toEqual(["main.ts"]);
  });

  test("has modules that import only what the table allows", () => {
    expect(forbiddenImports(imports)).toEqual([]);
  });

  test("has no cycles, those of types included", () => {
    expect(findCycle(imports)).toBeUndefined();
  });

  test("names an engine of the store in store/open.ts alone", () => {
    const engine = /^store\/(?:disk|sqlite)\//;
    const naming = Object.entries(imports).filter(
      ([file, targets]) =>
        !engine.test(file) && targets.some((one) => !one.isType && engine.test(one.target)),
    );
    expect(naming.map(([file]) => file)).toEqual(["store/open.ts"]);
  });

  test("knows SQLite under store/sqlite alone", () => {
    const knowing = files.filter((file) =>
      readFileSync(path.join(source, file), "utf8").includes('"better-sqlite3"'),
    );
    expect(knowing.filter((file) => !file.startsWith("store/sqlite/"))).toEqual([]);
  });

  test("has no files that are named for nothing", () => {
    expect(files.filter((file) => namelessFiles.test(path.basename(file)))).toEqual([]);
  });
});

const to = (...targets: string[]): Import[] => targets.map((target) => ({ target, isType: false }));

describe("these checks", () => {
  test.each([
    ['import { a } from "../store/blobs.ts";', false],
    ['import type { A } from "../store/blobs.ts";', true],
    ['import {\n  a,\n  type B,\n} from "../store/blobs.ts";', false],
    ['import "../store/blobs.ts";', false],
    ['export { a } from "../store/blobs.ts";', false],
    ['export type * from "../store/blobs.ts";', true],
    ['const blobs = await import("../store/blobs.ts");', false],
    ['let a: import("../store/blobs.ts").Blobs;', false],
  ])("see %j", (text, isType) => {
    expect(importsOf("oci/digest.ts", text)).toEqual([{ target: "store/blobs.ts", isType }]);
  });

  test("tell a type's import from the one after it", () => {
    const text = 'import type { A } from "./a.ts";\nimport { b } from "./b.ts";';
    expect(importsOf("oci/c.ts", text).map(({ isType }) => isType)).toEqual([true, false]);
  });

  test.each([
    ["oci/a.ts", "store/b.ts"],
    ["telemetry/a.ts", "oci/b.ts"],
    ["store/a.ts", "upstream/b.ts"],
    ["upstream/a.ts", "store/b.ts"],
    ["quota/a.ts", "config/b.ts"],
    ["mirror/a.ts", "http/b.ts"],
    ["trust/a.ts", "upstream/b.ts"],
    ["cli/a.ts", "http/b.ts"],
    ["cli/a.ts", "serve/b.ts"],
    ["serve/a.ts", "main.ts"],
    ["cellar/a.ts", "oci/b.ts"],
  ])("find that %s imports %s, its types included", (file, target) => {
    for (const isType of [false, true])
      expect(forbiddenImports({ [file]: [{ target, isType }] })).toEqual([`${file} -> ${target}`]);
  });

  test("let types, and nothing else, come from further below", () => {
    const [file, target] = ["http/a.ts", "store/b.ts"];
    expect(forbiddenImports({ [file]: [{ target, isType: true }] })).toEqual([]);
    expect(forbiddenImports({ [file]: [{ target, isType: false }] })).toHaveLength(1);
  });

  test("find a cycle however long", () => {
    expect(findCycle({ a: to("b"), b: to("d", "c"), c: to("a"), d: [] })).toEqual(["a", "b", "c", "a"]);
    expect(findCycle({ a: to("b", "c"), b: to("d"), c: to("d"), d: [] })).toBeUndefined();
  });
});
