/** Cases R12-R14, R24, R26, R50: whatever becomes of the files, clients get right bytes, and the store finds back. */
import { copyFile, mkdir, open, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { Child } from "../../support/child.ts";
import { fsck } from "../../support/fsck.ts";
import { nodeOptions } from "../../support/hubcap.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { entry } from "../../support/run.ts";
import { whole } from "../../support/reader.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

let setup: Setup;
let pushed: Pushed;

beforeEach(async () => {
  setup = await openSetup();
  pushed = await setup.pushLayer("library/app", 200_000);
});
afterEach(() => setup.close());

function blobPath(digest: string): string {
  const hex = digest.slice("sha256:".length);
  return join(setup.hubcap.root, "blobs", "sha256", hex.slice(0, 2), hex);
}

const catalogPath = (): string => join(setup.hubcap.root, "catalog.sqlite");

async function pull(): Promise<void> {
  const { errors } = await pullLikeContainerd({
    mirror: setup.hubcap.url,
    ns: "docker.io",
    repository: pushed.repository,
    reference: "1",
  });
  expect(errors).toEqual([]);
  // The last byte is sent when it is proven, and stored after that: the file has its name before it has its row.
  await setup.held(pushed);
}

async function servesWithoutFetching(): Promise<void> {
  setup.hub.counts.reset();
  await pull();
  expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
  expect([setup.hub.counts.blobGets.total, setup.hub.counts.manifestGets.total]).toEqual([0, 0]);
}

/** Turns one bit of a file over. */
async function rot(path: string, at: number): Promise<void> {
  await using file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
}

const quarantined = (): Promise<string[]> => readdir(join(setup.hubcap.root, "quarantine"));

describe("a blob that is not what its row says", () => {
  it.each([0, 1000])("R12 of %i bytes is fetched again, and never served", async (size) => {
    await pull();
    await truncate(blobPath(pushed.layer.digest), size);
    setup.hub.counts.reset();
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(setup.hub.counts.blobGets.total).toBe(1);
    expect(await quarantined()).toHaveLength(1);
    expect(await setup.hubcap.metric("hubcap_quarantined_total", { reason: "size" })).toBe(1);
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(setup.hub.counts.blobGets.total).toBe(1);
  });

  it("R13 has no file: it is fetched again", async () => {
    await pull();
    await rm(blobPath(pushed.layer.digest));
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0 });
  });

  it("R13 has no row: it is adopted, for a repository whose upstream knows it", async () => {
    const path = blobPath(pushed.layer.digest);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, pushed.bytes);
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(setup.hub.counts.blobGets.total).toBe(0);
  });

  it("R13 has no row and wrong bytes: it is not adopted", async () => {
    const path = blobPath(pushed.layer.digest);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, Buffer.alloc(pushed.bytes.length));
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(setup.hub.counts.blobGets.total).toBe(1);
    expect(await quarantined()).toHaveLength(1);
  });

  it("R14 has rotted: the scrub finds it, and the next pull fetches it again", async () => {
    await pull();
    await rot(blobPath(pushed.layer.digest), 100_000);
    await setup.restart({ ...(await written()), storage: { scrub: { rate: "1GB" } } });
    await expect.poll(() => setup.hubcap.metric("hubcap_quarantined_total", { reason: "bytes" })).toBe(1);
    expect(await quarantined()).toHaveLength(1);
    setup.hub.counts.reset();
    expect(await setup.read(pushed).ended).toEqual(whole(pushed.bytes));
    expect(setup.hub.counts.blobGets.total).toBe(1);
    expect(await setup.hubcap.metric("hubcap_scrubbed_bytes_total")).toBeGreaterThan(0);
  });

  it("is a manifest that has rotted: it is fetched again at once", async () => {
    await pull();
    await setup.hubcap.stop();
    const { digest } = pushed.image.root;
    await rot(blobPath(digest), 10);
    await setup.hubcap.start();
    const { status, body } = await setup.manifest(pushed.repository, digest);
    expect([status, body.equals(pushed.image.manifests.get(digest)?.bytes ?? Buffer.alloc(0))]).toEqual([
      200,
      true,
    ]);
  });
});

/** The configuration that the setup was opened with, as far as it leads upstream. */
async function written(): Promise<{ upstreams: Record<string, object> }> {
  const file = join(dirname(setup.hubcap.root), "hubcap.yaml");
  const { upstreams } = parse(await readFile(file, "utf8")) as { upstreams: Record<string, object> };
  return { upstreams };
}

describe("the catalog", () => {
  it("R24 was deleted: it is built anew from the blobs, and nothing is fetched again", async () => {
    await pull();
    await setup.hubcap.stop();
    for (const end of ["", "-wal", "-shm"]) await rm(catalogPath() + end, { force: true });
    await setup.hubcap.start();
    await servesWithoutFetching();
  });

  it.each(["at its beginning", "in its middle"])("R24 was overwritten %s: it is set aside", async (where) => {
    await pull();
    await setup.hubcap.stop();
    const size = (await readFile(catalogPath())).length;
    await using file = await open(catalogPath(), "r+");
    await file.write(Buffer.alloc(4096, 0xa5), 0, 4096, where === "at its beginning" ? 0 : size / 2);
    await setup.hubcap.start();
    await servesWithoutFetching();
    const names = await readdir(setup.hubcap.root);
    expect(names.filter((name) => name.startsWith("catalog.sqlite.corrupt-"))).not.toEqual([]);
    expect(await setup.hubcap.metric("hubcap_catalogs_replaced_total")).toBe(1);
    await setup.hubcap.stop();
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
  });

  it("R26 of a newer Hubcap is refused with one clear line", async () => {
    await setup.hubcap.stop();
    const database = new Database(catalogPath());
    database.pragma("user_version = 1000");
    database.close();
    await expect(setup.hubcap.start()).rejects.toThrow(
      /ended with 1 .*\nhubcap: .* newer Hubcap \(schema 1000/s,
    );
  });
});

describe("a second process on one data root", () => {
  it("R50 refuses to start while the first lives, and starts after its kill -9", async () => {
    const config = join(dirname(setup.hubcap.root), "hubcap.yaml");
    const second = new Child([...nodeOptions, entry, "serve", "--config", config], process.env);
    expect(await second.exit).toEqual({ code: 1, signal: null });
    expect(second.errors).toMatch(/^hubcap: another Hubcap is using .*: stop it first.*\n$/);
    await setup.hubcap.kill9();
    await setup.hubcap.start();
  });
});

describe("hubcap fsck", () => {
  it("finds nothing in a running and in a stopped store that is well", async () => {
    await pull();
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
    await setup.hubcap.stop();
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
  });

  it("finds every kind of damage, and puts it right", async () => {
    await pull();
    await setup.hubcap.stop();
    const { digest } = pushed.layer;
    const platform = [...pushed.image.platforms.values()][0];
    if (!platform) throw new Error("an image without a platform");
    await rot(blobPath(digest), 100_000);
    await rm(blobPath(platform.config.digest));
    const stray = join(setup.hubcap.root, "blobs", "sha256", "lost+found");
    await writeFile(stray, "?");
    await writeFile(join(setup.hubcap.root, "ingest", "half"), "?");
    const database = new Database(catalogPath());
    database.prepare("DELETE FROM blob WHERE digest = ?").run(platform.manifest.digest);
    database.prepare("UPDATE blob SET size = size + 1 WHERE digest = ?").run(pushed.image.root.digest);
    database.close();

    const { code, findings, errors } = await fsck(setup.hubcap);
    expect(code).toBe(1);
    expect(errors).toMatch(/^hubcap: 7 problems in .*; stop Hubcap and run hubcap fsck --repair\n$/);
    expect(findings.map(({ problem, what }) => `${problem} ${what}`).toSorted()).toEqual(
      [
        `corrupt ${digest}`,
        "leftover ingest/half",
        `missing ${platform.config.digest}`,
        `missing ${platform.manifest.digest}`,
        `orphan ${platform.manifest.digest}`,
        `size ${pushed.image.root.digest}`,
        "stray blobs/sha256/lost+found",
      ].toSorted(),
    );
    expect(await fsck(setup.hubcap, "--repair")).toMatchObject({ code: 0 });
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
    await setup.hubcap.start();
    await pull();
  });

  it("repairs a catalog that is damaged or missing", async () => {
    await pull();
    await setup.hubcap.stop();
    await copyFile(entry, catalogPath());
    expect((await fsck(setup.hubcap)).findings).toContainEqual({
      problem: "catalog",
      what: "catalog.sqlite",
    });
    expect(await fsck(setup.hubcap, "--repair")).toMatchObject({ code: 0 });
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
    await rm(catalogPath());
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 1 });
    expect(await fsck(setup.hubcap, "--repair")).toMatchObject({ code: 0 });
    expect(await fsck(setup.hubcap)).toMatchObject({ code: 0, findings: [] });
  });

  it("repairs nothing under a running Hubcap", async () => {
    const { code, errors } = await fsck(setup.hubcap, "--repair");
    expect([code, errors]).toEqual([1, expect.stringContaining("another Hubcap is using")]);
  });
});
