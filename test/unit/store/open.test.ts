/** The store as it is opened: taken over from the version before, with a damaged catalog, and with a damaged or lost state. */
import { copyFile, mkdtemp, open, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fsck } from "../../../src/cli/fsck.ts";
import { digestOf, type Digest } from "../../../src/oci/digest.ts";
import type { Repository, RepositoryName, Tag } from "../../../src/oci/reference.ts";
import { openStore, openStoreBeside, type Store } from "../../../src/store/open.ts";
import { writeOldCatalog } from "../../support/catalogs.ts";
import { ledgerEntry } from "../../support/ledgerEntry.ts";

const nginx: Repository = { upstream: "docker.io", name: "library/nginx" as RepositoryName };
const tag = "1.29" as Tag;
const first = `sha256:${"a".repeat(64)}` as Digest;
const t0 = Date.UTC(2026, 10, 30, 12);

let root: string;
let events: string[];
let opened: Store[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-open-"));
  events = [];
  opened = [];
});
afterEach(async () => {
  for (const store of opened) await store.close().catch(() => {});
  await rm(root, { recursive: true });
});

async function openHere(now = t0): Promise<Store> {
  const store = await openStore({
    root,
    now: () => now,
    events: {
      catalogReplaced: () => void events.push("catalog replaced"),
      stateReplaced: ({ isRestored }) => void events.push(isRestored ? "state restored" : "state made anew"),
    },
  });
  opened.push(store);
  return store;
}

/** Everything that cannot be rebuilt, for one image. */
async function remember(store: Store): Promise<void> {
  const { pins, anchors, sightings } = store.state;
  await pins.replace("cluster", ["docker.io/library/nginx:1.29"], t0);
  await anchors.keep(nginx, tag, first, t0);
  await sightings.note(nginx, first, tag, t0);
  await store.ledger.spend({ ...ledgerEntry(t0), bucket: "docker.io" });
}

async function remembered(store: Store) {
  const { pins, anchors, sightings } = store.state;
  return {
    pins: await pins.owned("cluster"),
    anchor: await anchors.of(nginx, tag),
    seen: await sightings.since(nginx, [first]),
    spent: (await store.ledger.rowsSince("docker.io", 0)).length,
  };
}

const all = { pins: ["docker.io/library/nginx:1.29"], anchor: first, seen: t0, spent: 1 };
const nothing = { pins: [], anchor: undefined, seen: undefined, spent: 0 };

async function damage(name: string): Promise<void> {
  await using file = await open(join(root, name), "r+");
  await file.write(Buffer.alloc(8192, 0xa5), 0, 8192, 0);
}

async function expectTakenOver(store: Store): Promise<void> {
  const { pins, anchors, sightings, visibilities, warmJobs, proof } = store.state;
  expect(await pins.all()).toEqual(["docker.io/library/redis"]);
  expect(await pins.owned("cluster")).toEqual(["docker.io/library/nginx:1.29", "ghcr.io/org/app"]);
  expect(await anchors.of(nginx, tag)).toBe(first);
  expect(await sightings.since(nginx, [first])).toBe(t0 - 5);
  expect(await sightings.tags(nginx, [first])).toEqual([tag]);
  expect(await visibilities.of(nginx)).toEqual({ isPublic: true, checkedAt: t0 });
  expect(await warmJobs.all()).toEqual(['{"id":"job"}']);
  expect(await proof.unprovenSince()).toBeUndefined();
  const rows = await store.ledger.rowsSince("docker.io", 0);
  expect(rows.map(({ outcome }) => outcome)).toEqual([...Array<string>(6).fill("counted"), "sent"]);
  expect(await store.ledger.state("docker.io")).toMatchObject({
    limit: 100,
    remaining: 93,
    savedPulls: 12,
  });
  expect(await store.ledger.spendBy({ by: "reason", since: t0 - 1000 })).toMatchObject([
    { key: "pull", spent: 7 },
    { key: "warm", refused: 1 },
  ]);
  expect((await store.catalog.tag(nginx, tag))?.descriptor.digest).toBe(first);
  expect(await store.verdicts.of(nginx, first, "policy")).toEqual({});
  // A number that was given out is not given out again.
  expect(await store.ledger.spend({ ...ledgerEntry(t0), bucket: "docker.io" })).toBe(8);
}

describe("a data root of the version before", () => {
  it("is taken over, with nothing lost, and backed up before", async () => {
    await writeOldCatalog(root);
    await expectTakenOver(await openHere());
    expect(events).toEqual([]);
    expect(await readdir(root)).toContain("catalog.sqlite.schema-7");
    const backup = new Database(join(root, "catalog.sqlite.schema-7"), { readonly: true });
    expect(backup.prepare("SELECT count(*) FROM quota_entry").pluck().get()).toBe(7);
    backup.close();
  });

  it("is taken over as well when a crash came between the copy and the drop", async () => {
    await writeOldCatalog(root);
    await copyFile(join(root, "catalog.sqlite"), join(root, "before"));
    await (await openHere()).close();
    const state = new Database(join(root, "state.sqlite"));
    state.exec("UPDATE origin SET parted = 0");
    state.close();
    await rm(join(root, "catalog.sqlite"));
    await copyFile(join(root, "before"), join(root, "catalog.sqlite"));
    await expectTakenOver(await openHere());
    expect(events).toEqual([]);
  });

  it("is taken over anew when an operator went back to that version and forth again", async () => {
    await writeOldCatalog(root);
    await remember(await openHere());
    await opened[0]?.close();
    await copyFile(join(root, "catalog.sqlite.schema-7"), join(root, "catalog.sqlite"));
    const store = await openHere();
    expect(await store.state.pins.all()).toEqual(["docker.io/library/redis"]);
    expect(events).toEqual(["state made anew"]);
    expect((await readdir(root)).some((name) => name.startsWith("state.sqlite.corrupt-"))).toBe(true);
  });
});

describe("a damaged catalog", () => {
  it("costs neither pins nor anchors, sightings or spent pulls, by a start", async () => {
    const before = await openHere();
    await remember(before);
    await before.close();
    await damage("catalog.sqlite");
    const store = await openHere();
    expect(events).toEqual(["catalog replaced"]);
    expect(await remembered(store)).toEqual(all);
    expect(await store.state.proof.unprovenSince()).toBeUndefined();
  });

  it("costs neither while it is in use, and the call that met the damage is answered", async () => {
    const store = await openHere();
    await remember(store);
    const path = join(root, "catalog.sqlite");
    const other = new Database(path);
    const add = other.prepare("INSERT INTO blob VALUES (?, ?, 0)");
    // More than is kept in memory, so that it is read from the file.
    const digests = Array.from({ length: 60_000 }, (_, number) => digestOf(Buffer.from(String(number))));
    other.transaction(() => digests.forEach((digest, number) => add.run(digest, number)))();
    other.pragma("wal_checkpoint(TRUNCATE)");
    const leaves = "SELECT pageno FROM dbstat WHERE name = 'blob' AND pagetype = 'leaf'";
    const pages = other.prepare<[], number>(leaves).pluck().all();
    const size = other.pragma("page_size", { simple: true }) as number;
    other.close();
    await using file = await open(path, "r+");
    for (const page of pages) await file.write(Buffer.alloc(size, 0xa5), 0, size, (page - 1) * size);
    const [digest = first] = digests;
    expect(await store.catalog.blobAnywhere(digest)).toBeUndefined();
    expect(events).toEqual(["catalog replaced"]);
    await store.catalog.adopt(digest, 1);
    expect(await store.catalog.blobAnywhere(digest)).toBe(1);
    expect(await remembered(store)).toEqual(all);
  });

  it("costs neither, by hubcap fsck --repair", async () => {
    const before = await openHere();
    await remember(before);
    await before.close();
    await damage("catalog.sqlite");
    await fsck({ root, repair: true, json: true });
    expect(await remembered(await openHere())).toEqual(all);
    expect(events).toEqual([]);
  });

  it("costs neither when the file is gone", async () => {
    const before = await openHere();
    await remember(before);
    await before.close();
    await rm(join(root, "catalog.sqlite"));
    expect(await remembered(await openHere())).toEqual(all);
  });
});

describe("a damaged state", () => {
  it("is restored from its backup, and not proven whole until fsck --repair confirms it", async () => {
    const before = await openHere();
    await remember(before);
    await before.backUp();
    await before.state.pins.add("docker.io/library/later", t0);
    await before.close();
    await damage("state.sqlite");
    const store = await openHere(t0 + 5);
    expect(events).toEqual(["state restored"]);
    expect(await remembered(store)).toEqual(all);
    expect(await store.state.pins.all()).toEqual([]);
    expect(await store.state.proof.unprovenSince()).toBe(t0 + 5);
    expect(await store.ledger.unproven("docker.io", 1, 2)).toEqual({ time: 1, at: 2 });
    expect(await store.ledger.unproven("docker.io", 3, 4)).toEqual({ time: 1, at: 2 });
    await store.close();
    await expect(fsck({ root, repair: false, json: true })).rejects.toThrow("1 problem");
    await fsck({ root, repair: true, json: true });
    const confirmed = await openHere();
    expect(await confirmed.state.proof.unprovenSince()).toBeUndefined();
    expect(await confirmed.ledger.unproven("docker.io", 3, 4)).toBeUndefined();
    expect(await remembered(confirmed)).toEqual(all);
  });

  it.each(["damaged", "lost"])("is made anew when it is %s and there is no backup", async (what) => {
    const before = await openHere();
    await remember(before);
    await before.close();
    if (what === "lost") await rm(join(root, "state.sqlite"));
    else await damage("state.sqlite");
    const store = await openHere();
    expect(events).toEqual(["state made anew"]);
    expect(await remembered(store)).toEqual(nothing);
    expect(await store.state.proof.unprovenSince()).toBe(t0);
    // No number that the lost ledger gave out is given out again.
    expect(await store.ledger.spend({ ...ledgerEntry(t0), bucket: "docker.io" })).toBeGreaterThan(t0);
  });

  it("is made anew when its backup is damaged too", async () => {
    const before = await openHere();
    await remember(before);
    await before.backUp();
    await before.close();
    await damage("state.sqlite");
    await damage("state.sqlite.backup");
    expect(await remembered(await openHere())).toEqual(nothing);
    expect(events).toEqual(["state made anew"]);
    expect((await readdir(root)).filter((name) => name.includes("corrupt"))).toHaveLength(2);
  });

  it("never becomes the backup", async () => {
    const store = await openHere();
    await remember(store);
    await store.backUp();
    await store.checkpoint();
    await damage("state.sqlite");
    await store.backUp().catch(() => {});
    await store.close();
    expect(await remembered(await openHere())).toEqual(all);
  });
});

it("calls no new data root unproven", async () => {
  const store = await openHere();
  expect(await store.state.proof.unprovenSince()).toBeUndefined();
  expect(events).toEqual([]);
});

it("is read beside the process that has it open", async () => {
  const store = await openHere();
  const blob = Buffer.from("a blob");
  const digest = digestOf(blob);
  await store.blobs.put(digest, blob);
  await store.catalog.holdBlob(nginx, digest, blob.length);
  const reader = openStoreBeside(root);
  expect(await reader.catalog.blob(nginx, digest)).toBe(blob.length);
  expect(await reader.blobs.read(digest, blob.length)).toEqual(blob);
  await reader.close();
});
