/** What clients can make grow stays small, and nothing that one request asks for keeps all others waiting. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ociIndex, ociManifest } from "../../../src/oci/descriptor.ts";
import { ask } from "../../support/ask.ts";
import { digestOf } from "../../support/content.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

let setup: Setup;

beforeAll(async () => {
  setup = await openSetup();
});

afterAll(() => setup.close());

function indexOf(name: string, children: number, annotations: object = {}): Buffer {
  const manifests = Array.from({ length: children }, (_, number) => ({
    mediaType: ociManifest,
    digest: digestOf(Buffer.from(`${name} ${number}`)),
    size: 500,
    platform: { os: "linux", architecture: "amd64" },
  }));
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests, annotations }));
}

function push(name: string, bytes: Buffer): void {
  const root = { mediaType: ociIndex, digest: digestOf(bytes), size: bytes.length };
  const manifests = new Map([[root.digest, { mediaType: ociIndex, bytes }]]);
  setup.hub.push({ root, blobs: new Map(), manifests }, name, "1");
}

/** The longest turn of the event loop since this was last asked, in seconds. */
function longest(): Promise<number> {
  return setup.hubcap.metric("nodejs_eventloop_lag_max_seconds");
}

/** Ten times what one turn may take, in seconds: 20 ms, or on a slow or busy machine what it takes to parse 4 MiB. */
function longestTurn(): number {
  const text = JSON.stringify(Array.from({ length: 100_000 }, (_, number) => `${number}`.padStart(38)));
  const start = performance.now();
  JSON.parse(text);
  return 10 * Math.max(0.02, (performance.now() - start) / 1000);
}

/** For how long Hubcap's main thread has waited for a processor since it began, in seconds; 0 where the system does not say. */
async function waitedForProcessor(): Promise<number> {
  const { pid } = setup.hubcap;
  const text = await readFile(`/proc/${pid}/task/${pid}/schedstat`, "utf8").catch(() => "0 0 0");
  return Number(text.split(" ")[1]) / 1e9;
}

/**
 * Asks for things of a kind, and holds that they need no long turn. What a turn waited for a processor is others' time and does
 * not count; the disk may lengthen some turns, but not all.
 */
async function expectShortTurns(request: (name: string) => Promise<void>): Promise<void> {
  const excess: number[] = [];
  for (let number = 0; number < 10 && Math.min(...excess) >= 0; number += 1) {
    await longest();
    const before = await waitedForProcessor();
    await request(String(number));
    const turn = await longest();
    const waited = (await waitedForProcessor()) - before;
    if (process.env["PRINT_ATTACKS"])
      process.stdout.write(
        `longest turn: ${Math.round(1000 * turn)} ms, waited ${Math.round(1000 * waited)} ms\n`,
      );
    excess.push(turn - waited - longestTurn());
  }
  expect(Math.min(...excess)).toBeLessThan(0);
}

it("refuses an index of 10,000 children with an error that says what to do", async () => {
  await expectShortTurns(async (name) => {
    push(`team/huge-${name}`, indexOf(name, 10_000));
    const reply = await setup.manifest(`team/huge-${name}`, "1");
    expect(reply.status).toBe(502);
    expect(reply.body.toString()).toContain("names 10000 others or layers, and 1000 are accepted");
  });
});

async function databaseBytes(): Promise<number> {
  const files = ["catalog", "state"].map((file) => setup.hubcap.metric("hubcap_database_bytes", { file }));
  return (await Promise.all(files)).reduce((sum, one) => sum + one, 0);
}

it("keeps nothing of 60 indexes of 10,000 children", async () => {
  const before = await databaseBytes();
  for (let number = 0; number < 60; number += 1) {
    await expectShortTurns(async (name) => {
      const repository = `team/huge-${number}-${name}`;
      push(repository, indexOf(repository, 10_000));
      expect((await setup.manifest(repository, "1")).status).toBe(502);
    });
  }
  const grown = (await databaseBytes()) - before;
  if (process.env["PRINT_ATTACKS"]) process.stdout.write(`60 indexes: ${grown} bytes of database\n`);
  expect(grown).toBeLessThan(1024 * 1024);
});

it("serves indexes of 1,000 children in 4 MiB", async () => {
  const annotations = Object.fromEntries(
    Array.from({ length: 1000 }, (_, number) => [`key ${number}`, "x".repeat(3800)]),
  );
  await expectShortTurns(async (name) => {
    push(`team/large-${name}`, indexOf(name, 1000, annotations));
    expect((await setup.manifest(`team/large-${name}`, "1")).status).toBe(200);
    expect((await setup.manifest(`team/large-${name}`, "1")).status).toBe(200);
  });
});

it("reads a list of 200,000 tags by the slice", async () => {
  const tags = Array.from({ length: 200_000 }, (_, number) => `tag-${number}`);
  const body = JSON.stringify({ tags });
  const headers = { "content-type": "application/json" };
  await expectShortTurns(async (name) => {
    const path = `/v2/team/listed-${name}/tags/list`;
    setup.hub.fault({ kind: "status", status: 200, headers, body, path: new RegExp(`^${path}`) });
    expect((await ask(`${setup.hubcap.url}${path}?ns=docker.io`)).status).toBe(200);
  });
});

it("parses a held list of 200,000 tags once, and not for every page of it", async () => {
  const tags = Array.from({ length: 200_000 }, (_, number) => `tag-${number}`);
  const path = "/v2/team/paged/tags/list";
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ tags });
  setup.hub.fault({ kind: "status", status: 200, headers, body, path: new RegExp(`^${path}`) });
  /** CPU time of this many pages, in seconds. */
  const costOf = async (pages: number): Promise<number> => {
    const before = await setup.hubcap.metric("process_cpu_seconds_total");
    for (let page = 0; page < pages; page += 1)
      expect((await ask(`${setup.hubcap.url}${path}?ns=docker.io&n=1`)).status).toBe(200);
    return (await setup.hubcap.metric("process_cpu_seconds_total")) - before;
  };
  const first = await costOf(1);
  const others = await costOf(200);
  if (process.env["PRINT_ATTACKS"])
    process.stdout.write(
      `first page ${Math.round(1000 * first)} ms, 200 more ${Math.round(1000 * others)} ms\n`,
    );
  // Parsed for each, they cost some twenty times as much.
  expect(others).toBeLessThan(5 * Math.max(first, 0.05));
});

it("refuses a document of a million values before it is parsed", async () => {
  const values = `{}, "x": [${"[],".repeat(1_300_000)}[]]}`;
  await expectShortTurns(async (name) => {
    push(`team/values-${name}`, Buffer.from(indexOf(name, 1).toString().replace("{}}", values)));
    expect((await setup.manifest(`team/values-${name}`, "1")).status).toBe(502);
  });
});

it("counts the databases", async () => {
  for (const file of ["catalog", "state"]) {
    expect(await setup.hubcap.metric("hubcap_database_bytes", { file })).toBeGreaterThan(50_000);
  }
});
