/** What is known of who sees a repository outlives the process, in catalogs of any age. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, onTestFinished, test } from "vitest";
import { parseRepositoryName, type Repository } from "../../../../src/oci/reference.ts";
import { openDatabase } from "../../../../src/store/sqlite/database.ts";
import { SqliteVisibilities } from "../../../../src/store/sqlite/state.ts";
import { schemaOne } from "../../../support/catalogs.ts";

function repository(upstream: string): Repository {
  const name = parseRepositoryName("team/app");
  if (!name) throw new Error("unreachable");
  return { upstream, name };
}

test("a repository is known by its upstream and name, as it was seen last", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hubcap-visibility-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "catalog.sqlite");
  const old = new Database(path);
  old.exec(schemaOne);
  old.close();
  const first = openDatabase(path);
  const visibilities = new SqliteVisibilities(first);
  expect(await visibilities.of(repository("docker.io"))).toBeUndefined();
  await visibilities.mark(repository("docker.io"), { isPublic: true, checkedAt: 1 });
  await visibilities.mark(repository("docker.io"), { isPublic: false, checkedAt: 2 });
  first.close();
  const second = openDatabase(path);
  onTestFinished(() => void second.close());
  const known = new SqliteVisibilities(second);
  expect(await known.of(repository("docker.io"))).toEqual({ isPublic: false, checkedAt: 2 });
  expect(await known.of(repository("ghcr.io"))).toBeUndefined();
});
