/** Who may import whom: docs/architecture.md as a table, held against every import under src. */
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";

const rooms = [
  "oci",
  "config",
  "store",
  "quota",
  "upstream",
  "trust",
  "mirror",
  "http",
  "telemetry",
  "cluster",
  "cli",
];

/** What each room may import besides itself. The files beside the rooms are the doors, which may import everything. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  oci: [],
  telemetry: [],
  cluster: ["oci"],
  config: ["oci"],
  store: ["oci"],
  quota: ["oci"],
  upstream: ["quota", "oci"],
  trust: ["oci"],
  mirror: ["store", "upstream", "quota", "trust", "oci", "telemetry"],
  http: ["mirror", "quota", "oci", "telemetry"],
  cli: rooms.filter((room) => room !== "http"),
  "serve.ts": [
    ...rooms,
    "connect.ts",
    "doors.ts",
    "faces.ts",
    "govern.ts",
    "keep.ts",
    "observe.ts",
    "secure.ts",
    "stop.ts",
    "warming.ts",
  ],
  "faces.ts": [...rooms, "connect.ts", "observe.ts", "workers.ts"],
  "workers.ts": [...rooms, "crew.ts", "outbox.ts", "worker.ts"],
  "crew.ts": ["outbox.ts", "worker.ts"],
  "worker.ts": [...rooms, "outbox.ts"],
  "outbox.ts": rooms,
  "connect.ts": [...rooms, "announce.ts"],
  "govern.ts": rooms,
  "keep.ts": [...rooms, "warming.ts"],
  "announce.ts": rooms,
  "doors.ts": [...rooms, "connect.ts"],
  "secure.ts": rooms,
  "alarms.ts": [...rooms, "connect.ts"],
  "observe.ts": [...rooms, "alarms.ts"],
  "warming.ts": rooms,
  "stop.ts": [],
  "main.ts": [...rooms, "serve.ts"],
};

/** Names that say nothing of what a file is about, and so gather everything. */
const namelessFiles = /^(?:index|utils?|helpers?|common|shared|types)\.ts$/;

/** File -> the files that it imports, all by their path under src. */
type Imports = Readonly<Record<string, readonly string[]>>;

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
function importsOf(file: string, text: string): string[] {
  const specifiers = text.matchAll(/\b(?:from|import)\s*\(?\s*["'](\.[^"']+\.ts)["']/g);
  return [...specifiers].map(([, specifier = ""]) => path.join(path.dirname(file), specifier));
}

function roomOf(file: string): string {
  return file.split("/")[0] ?? "";
}

function trespasses(imports: Imports): string[] {
  return Object.entries(imports).flatMap(([file, targets]) =>
    targets
      .filter((target) => {
        const [from, to] = [roomOf(file), roomOf(target)];
        return from !== to && !mayImport[from]?.includes(to);
      })
      .map((target) => `${file} -> ${target}`),
  );
}

/** The first way found from a file back to itself. */
function findCycle(imports: Imports): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const target of imports[file] ?? []) {
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

describe("the house", () => {
  const imports = readImports();
  const files = Object.keys(imports);

  test("has no rooms that the table does not know", () => {
    expect([...new Set(files.map(roomOf))].filter((room) => mayImport[room] === undefined)).toEqual([]);
  });

  test("has rooms that import only what the table allows", () => {
    expect(trespasses(imports)).toEqual([]);
  });

  test("has no cycles, those of types included", () => {
    expect(findCycle(imports)).toBeUndefined();
  });

  test("has no files that are named for nothing", () => {
    expect(files.filter((file) => namelessFiles.test(path.basename(file)))).toEqual([]);
  });
});

describe("these checks", () => {
  test.each([
    'import { a } from "../store/blobs.ts";',
    'import type { A } from "../store/blobs.ts";',
    'import {\n  a,\n  type B,\n} from "../store/blobs.ts";',
    'import "../store/blobs.ts";',
    'export { a } from "../store/blobs.ts";',
    'export type * from "../store/blobs.ts";',
    'const blobs = await import("../store/blobs.ts");',
    'let a: import("../store/blobs.ts").Blobs;',
  ])("see %j", (text) => {
    expect(importsOf("oci/digest.ts", text)).toEqual(["store/blobs.ts"]);
  });

  test.each([
    ["oci/a.ts", "store/b.ts"],
    ["telemetry/a.ts", "oci/b.ts"],
    ["store/a.ts", "upstream/b.ts"],
    ["upstream/a.ts", "store/b.ts"],
    ["quota/a.ts", "config/b.ts"],
    ["mirror/a.ts", "http/b.ts"],
    ["http/a.ts", "store/b.ts"],
    ["trust/a.ts", "upstream/b.ts"],
    ["http/a.ts", "upstream/b.ts"],
    ["cli/a.ts", "http/b.ts"],
    ["cli/a.ts", "serve.ts"],
    ["serve.ts", "main.ts"],
    ["cellar/a.ts", "oci/b.ts"],
  ])("find that %s imports %s", (file, target) => {
    expect(trespasses({ [file]: [target] })).toEqual([`${file} -> ${target}`]);
  });

  test("find a cycle however long", () => {
    expect(findCycle({ a: ["b"], b: ["d", "c"], c: ["a"], d: [] })).toEqual(["a", "b", "c", "a"]);
    expect(findCycle({ a: ["b", "c"], b: ["d"], c: ["d"], d: [] })).toBeUndefined();
  });
});
