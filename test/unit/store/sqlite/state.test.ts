/** What cannot be rebuilt, as a catalog of the first version is brought on to it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, it, onTestFinished } from "vitest";
import type { Repository, RepositoryName } from "../../../../src/oci/reference.ts";
import { openStore } from "../../../../src/store/open.ts";
import { schemaOne } from "../../../support/catalogs.ts";

function repository(upstream: string): Repository {
  return { upstream, name: "library/nginx" as RepositoryName };
}

it("knows a repository by its upstream and name, as it was seen last", async () => {
  const root = await mkdtemp(join(tmpdir(), "hubcap-state-"));
  onTestFinished(() => rm(root, { recursive: true }));
  const old = new Database(join(root, "catalog.sqlite"));
  old.exec(schemaOne);
  old.close();
  const first = await openStore({ root });
  const { visibilities } = first.state;
  expect(await visibilities.of(repository("docker.io"))).toBeUndefined();
  await visibilities.mark(repository("docker.io"), { isPublic: true, checkedAt: 1 });
  await visibilities.mark(repository("docker.io"), { isPublic: false, checkedAt: 2 });
  await first.close();
  const second = await openStore({ root });
  onTestFinished(() => second.close());
  const known = second.state.visibilities;
  expect(await known.of(repository("docker.io"))).toEqual({ isPublic: false, checkedAt: 2 });
  expect(await known.of(repository("ghcr.io"))).toBeUndefined();
});
