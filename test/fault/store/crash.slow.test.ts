/**
 * Cases R18, R26: killed at every step of filling, committing, evicting and migrating, and at any moment under load.
 * `npm run test:crash` does it a thousand times.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DiskBlobs } from "../../../src/store/disk/blobs.ts";
import { DiskStrayFiles } from "../../../src/store/disk/strayFiles.ts";
import { SqliteCatalog } from "../../../src/store/sqlite/catalog.ts";
import { Reconciler } from "../../../src/store/repair/reconcile.ts";
import { openBeside, SqliteFile } from "../../../src/store/sqlite/database.ts";
import { check, type Finding } from "../../../src/store/repair/fsck.ts";
import { SqliteSurvey } from "../../../src/store/sqlite/survey.ts";
import { schemaOne } from "../../support/catalogs.ts";
import { fsck } from "../../support/fsck.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { patience } from "../../support/patience.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import type { PullResult } from "../../support/pullSession.ts";
import { catalogSchema } from "../../../src/store/sqlite/schema.ts";

/** How often it is killed in all: each step once, and the rest at any moment. */
const crashes = Number(process.env["CRASHES"] ?? 50);
const hourMs = 60 * 60 * 1000;
/** What a start after a crash may take: ten times the usual. */
const readyMs = 10_000;

/** How long each start after a crash took, in ms. */
const starts: number[] = [];

// An index and a manifest come in before the first blob does.
const filling = ["create", "write", "sync", "makeFolder", "rename", "syncFolder"].map((name) => `${name}#3`);
const committing = ["holdBlob", "holdManifest", "resolve"];
const evicting = ["drop", "discard", "use", "remove"];
const around = (name: string): string[] => [`before ${name}`, `after ${name}`];
const evictingSteps = evicting.flatMap(around);
const named = [...[...filling, ...committing].flatMap(around), ...evictingSteps, "amid write#3"];

const source = "registry.example";
const preloaded = fileURLToPath(new URL("crashPoint.ts", import.meta.url));
/** The environment of the next start. */
const env: Record<string, string> = {};

let hub: Hub;
let hubcap: Hubcap;
let cache: string;
let pushed = 0;

beforeAll(async () => {
  hub = await startHub({ limit: "unlimited" });
  // Without it, most of a start is spent on reading the same modules again.
  cache = await mkdtemp(join(tmpdir(), "hubcap-compiled-"));
  env["NODE_COMPILE_CACHE"] = cache;
  hubcap = await startHubcap({
    config: {
      // A host of which no limits are known: docker.io's would slow this down.
      upstreams: { [source]: upstreamOf(hub) },
      defaultUpstream: source,
      // Space for a few images: each new one drives out an old one.
      storage: { capacity: "3MiB", minFree: "1MiB" },
      shutdown: { grace: "1s" },
    },
    env,
    nodeArgs: ["--import", preloaded],
  });
  await pullMoreThanFits();
  await hubcap.stop();
});
afterEach(() => hubcap.kill9());
afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
  await rm(cache, { recursive: true, force: true });
});

async function push(): Promise<number> {
  pushed += 1;
  const seed = `crash ${pushed}`;
  const image = await buildImage({ seed, layers: 2, layerBytes: 200_000, platforms: ["linux/amd64"] });
  hub.push(image, `library/app${pushed}`, "1");
  return pushed;
}

function pull(number: number): Promise<PullResult> {
  return pullLikeContainerd({
    mirror: hubcap.url,
    ns: source,
    repository: `library/app${number}`,
    reference: "1",
    headerTimeout: 60_000,
  });
}

/** Pulls new images, one after the other: more of them than there is space for. */
async function pullMoreThanFits(): Promise<PullResult[]> {
  const results: PullResult[] = [];
  for (let number = 0; number < 8; number++) results.push(await pull(await push()));
  return results;
}

/** What is wrong in the store of a process that has ended, beside what the next start puts right. */
async function damage(): Promise<Finding[]> {
  const { root } = hubcap;
  const database = openBeside(join(root, "catalog.sqlite"), catalogSchema);
  try {
    const blobs = DiskBlobs.beside(root);
    const catalog = new SqliteCatalog(new SqliteFile(database));
    const survey = new SqliteSurvey(new SqliteFile(database));
    const reconciler = new Reconciler({ blobs, catalog });
    const findings = await Array.fromAsync(
      check({
        blobs,
        strayFiles: new DiskStrayFiles(root),
        catalog,
        survey,
        reconciler,
        running: false,
      }),
    );
    expect(database.pragma("integrity_check", { simple: true })).toBe("ok");
    return findings.filter(({ problem }) => problem !== "orphan" && problem !== "leftover");
  } finally {
    database.close();
  }
}

/** When it is killed, in ms: another moment each round, and the same ones in each run. */
function momentOf(round: number): number {
  return (round * 61.8) % 100;
}

/** Starts it, lets it work until it is killed, and looks at what is left. */
async function crash(at: string | undefined, round: number): Promise<void> {
  env["CRASH_AT"] = at ?? "";
  env["CRASH_CLOCK"] = String((round + 1) * hourMs);
  const started = performance.now();
  await hubcap.start();
  starts.push(performance.now() - started);
  const fresh = await push();
  const together = Promise.all([pull(fresh), pull(fresh), pull(fresh - 1)]);
  // And once more when it is held: a use is noted, and written some seconds later.
  const pulls = together.then(async (results) => [...results, await pull(fresh)]);
  if (at === undefined) {
    await Promise.race([pulls, wait(momentOf(round))]);
    await hubcap.kill9();
  }
  const results = await pulls;
  // One image may find space without that anything has to go: an earlier round may have made more than it used.
  if (evictingSteps.includes(at ?? "")) results.push(...(await pullMoreThanFits()));
  // Eviction may still be on its way to its step when the clients have all they want.
  const reached =
    at === undefined || (await Promise.race([hubcap.exit, wait(patience.timeout)])) !== undefined;
  expect(reached, `${at} was never reached`).toBe(true);
  await hubcap.kill9();
  const lies = results.flatMap(({ errors }) => errors).filter((error) => error.includes("expected sha256:"));
  expect(lies, `served after ${at}`).toEqual([]);
  expect(await damage(), `left by a crash ${at}`).toEqual([]);
}

describe("killed with SIGKILL", () => {
  it(
    "R18 at every step, and at any moment under load",
    async () => {
      for (let round = 0; round < crashes; round++) {
        await crash(named[round], round);
      }
      env["CRASH_AT"] = "";
      await hubcap.start();
      expect((await pull(pushed)).errors).toEqual([]);
      // What the last crash has left without a row is given one while pulls are served.
      await expect.poll(() => fsck(hubcap)).toMatchObject({ code: 0, findings: [] });
      await hubcap.stop();
      expect(await fsck(hubcap)).toMatchObject({ code: 0, findings: [] });
      // Most of them: a single start may have had to wait for other work on this machine.
      const sorted = starts.toSorted((a, b) => a - b);
      const [median, longest] = [sorted.at(sorted.length >> 1), sorted.at(-1)].map((ms = 0) =>
        Math.round(ms),
      );
      // eslint-disable-next-line no-console -- the figures are for people
      console.log(
        `${crashes} crashes, ready again after ${median} ms at the median and ${longest} ms at the longest`,
      );
      expect(sorted.at(Math.floor(sorted.length * 0.9))).toBeLessThan(readyMs);
    },
    crashes * 20_000,
  );

  it.each([
    "before backup",
    "after backup",
    "before migrate",
    "after migrate",
    "before migrate#2",
    "after migrate#2",
  ])("R26 %s, a migration is begun again and loses nothing", async (at) => {
    const path = join(hubcap.root, "catalog.sqlite");
    await rm(hubcap.root, { recursive: true, force: true });
    await DiskBlobs.at(hubcap.root);
    const old = new Database(path);
    old.exec(schemaOne);
    old.close();
    await writeFile(`${path}.schema-1.partial`, "a backup that was cut short");
    env["CRASH_AT"] = at;
    await expect(hubcap.start()).rejects.toThrow("SIGKILL");
    env["CRASH_AT"] = "";
    await hubcap.start();
    await hubcap.stop();
    const now = openBeside(path, catalogSchema);
    expect(now.prepare("SELECT body FROM listing").pluck().all()).toEqual(['["1.29"]']);
    now.close();
    const backup = new Database(`${path}.schema-1`, { readonly: true });
    expect(backup.pragma("user_version", { simple: true })).toBe(1);
    expect(backup.prepare("SELECT body FROM listing").pluck().all()).toEqual(['["1.29"]']);
    backup.close();
  });
});
