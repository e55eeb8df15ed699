/** Rows that outlive their content have a bound, and every table of both files has something that deletes from it. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parseTag, type Repository, type RepositoryName, type Tag } from "../../../../src/oci/reference.ts";
import { forgetLasting, lastingLimits, type LastingTable } from "../../../../src/store/evict/lasting.ts";
import { openDatabase } from "../../../../src/store/sqlite/database.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";
import { stateSchema } from "../../../../src/store/sqlite/stateSchema.ts";
import { testStore, type TestStore } from "../../../support/testStore.ts";

const repository = (number: number): Repository => ({
  upstream: "docker.io",
  name: `team/app-${number}` as RepositoryName,
});
const digest = digestOf(Buffer.from("image"));
const tag = parseTag("1") as Tag;
const held = 3;

/** Leaves in each table a row for each of `count` repositories, written at 0, 1, 2 and so on; one repository holds its image. */
async function fill({ catalog, state, verdicts }: TestStore, count: number): Promise<void> {
  await catalog.holdManifest(repository(held), { digest, mediaType: ociManifest, size: 1 }, []);
  for (let number = 0; number < count; number += 1) {
    await state.visibilities.mark(repository(number), { isPublic: number % 2 === 0, checkedAt: number });
    await state.sightings.note(repository(number), digest, tag, number);
    await state.anchors.keep(repository(number), tag, digest, number);
    await verdicts.keep(repository(number), digest, "policy", {});
  }
}

async function repositoriesIn(table: LastingTable): Promise<string[]> {
  return (await table.page(undefined, 1000)).map(({ repository }) => repository.name);
}

describe("rows that outlive their content", () => {
  it.each(["visibility", "sighting", "immutable_tag", "verdict"])(
    "of %s go when they are too many, the oldest first, but for what is held",
    async (name) => {
      const store = await testStore();
      await fill(store, 120);
      const table = store.lasting.find((one) => one.name === name) as LastingTable;
      const all = await repositoriesIn(table);
      const limits = { ageMs: Infinity, rows: 20 };
      const { signal } = new AbortController();
      expect(await forgetLasting(table, limits, store.inventory, 1000, signal)).toBe(100);
      const left = await repositoriesIn(table);
      const kept = repository(held).name;
      expect(left).toContain(kept);
      const others = all.filter((one) => one !== kept).slice(100);
      expect(left.filter((one) => one !== kept)).toEqual(others);
      expect(await forgetLasting(table, limits, store.inventory, 1000, signal)).toBe(0);
    },
  );

  it("go when they are too old", async () => {
    const store = await testStore();
    await fill(store, 10);
    const [table] = store.lasting;
    if (!table) throw new Error("no table");
    const limits = { ageMs: 5, rows: 1000 };
    const { signal } = new AbortController();
    expect(await forgetLasting(table, limits, store.inventory, 10, signal)).toBe(5);
    expect(await repositoriesIn(table)).toEqual([3, 6, 7, 8, 9].map((number) => repository(number).name));
  });

  it("have limits that are documented", () => {
    const text = readFileSync("docs/architecture.md", "utf8");
    for (const [name, { rows }] of Object.entries(lastingLimits)) {
      expect(text).toMatch(new RegExp(`\`${name}\`.*${rows.toLocaleString("en")}`));
    }
  });
});

/** `verdict` and others have a statement that is made for each, see above. The rows of these are as many as the configuration says. */
const fixed = ["total", "scrub", "origin", "quota_version", "quota_standing", "unproven_bucket"];

it("has something that deletes from every table that can grow, and a line in the documentation", () => {
  const folder = "src/store/sqlite";
  const code = readdirSync(folder).map((file) => readFileSync(`${folder}/${file}`, "utf8"));
  const deletes = new Set(
    code.flatMap((text) =>
      [...text.matchAll(/DELETE FROM (?<table>\w+)/g)].map((found) => found.groups?.["table"]),
    ),
  );
  const text = readFileSync("docs/architecture.md", "utf8");
  const tables = [catalogSchema, stateSchema].flatMap((schema) => {
    const database = openDatabase(":memory:", schema);
    const names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    const found = database.prepare<[], string>(names).pluck().all();
    database.close();
    return found;
  });
  expect(tables.length).toBeGreaterThan(15);
  expect(tables.filter((table) => !text.includes(`\`${table}\``))).toEqual([]);
  const swept = [...deletes, ...Object.keys(lastingLimits), ...fixed];
  expect(tables.filter((table) => !swept.includes(table))).toEqual([]);
});
