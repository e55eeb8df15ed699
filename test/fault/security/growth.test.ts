/** What clients can make grow stays small, and nothing that one request asks for keeps all others waiting. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ociIndex, ociManifest } from "../../../src/oci/descriptor.ts";
import { digestOf } from "../../support/content.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

let setup: Setup;

/** Ten times what one turn of the event loop may take, in seconds. */
const longestTurn = 0.2;

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

it("refuses an index of 10,000 children with an error that says what to do", async () => {
  push("team/huge", indexOf("huge", 10_000));
  await longest();
  const reply = await setup.manifest("team/huge", "1");
  expect(reply.status).toBe(502);
  expect(reply.body.toString()).toContain("names 10000 others or layers, and 1000 are accepted");
  expect(await longest()).toBeLessThan(longestTurn);
});

it("serves indexes of 1,000 children in 4 MiB, and no turn of the event loop is long", async () => {
  const annotations = Object.fromEntries(
    Array.from({ length: 1000 }, (_, number) => [`key ${number}`, "x".repeat(3800)]),
  );
  const turns: number[] = [];
  for (const name of ["team/large-1", "team/large-2", "team/large-3", "team/large-4"]) {
    push(name, indexOf(name, 1000, annotations));
    await longest();
    expect((await setup.manifest(name, "1")).status).toBe(200);
    expect((await setup.manifest(name, "1")).status).toBe(200);
    turns.push(await longest());
  }
  // The machine itself may be busy now and then.
  expect(Math.min(...turns)).toBeLessThan(longestTurn);
});

it("refuses a document of a million values before it is parsed", async () => {
  const bytes = indexOf("values", 1);
  push(
    "team/values",
    Buffer.from(bytes.toString().replace("{}}", `{}, "x": [${"[],".repeat(1_300_000)}[]]}`)),
  );
  await longest();
  expect((await setup.manifest("team/values", "1")).status).toBe(502);
  expect(await longest()).toBeLessThan(longestTurn);
});

it("counts the databases", async () => {
  for (const file of ["catalog", "state"]) {
    expect(await setup.hubcap.metric("hubcap_database_bytes", { file })).toBeGreaterThan(50_000);
  }
});
