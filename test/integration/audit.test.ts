/** The audit log: one line for each pull, with who, what and how it ended, in a file that may be moved away. */
import { mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ask } from "../support/ask.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage, type Image } from "../support/images.ts";

let hub: Hub;
let hubcap: Hubcap;
let folder: string;
let image: Image;

type Line = Readonly<Record<string, unknown>>;

beforeEach(async () => {
  hub = await startHub();
  image = await buildImage({ seed: "audited" });
  hub.push(image, "library/app", "1");
  folder = await mkdtemp(join(tmpdir(), "hubcap-audit-"));
});
afterEach(async () => {
  await hubcap.dispose();
  await hub.stop();
  await rm(folder, { recursive: true });
});

async function start(audit: object | undefined): Promise<void> {
  const upstreams = { "docker.io": upstreamOf(hub) };
  hubcap = await startHubcap({ config: { ...(audit && { audit }), upstreams } });
}

async function linesIn(file: string): Promise<Line[]> {
  const lines = (await readFile(file, "utf8")).split("\n");
  expect(lines.pop()).toBe("");
  return lines.map((line) => JSON.parse(line) as Line);
}

async function nodesIn(file: string): Promise<unknown[]> {
  return (await linesIn(file)).map(({ node }) => node);
}

async function pull(reference: string, node = "worker-1"): Promise<number> {
  const headers = { "x-hubcap-node": node, "user-agent": "containerd/2.1.0" };
  return (await ask(`${hubcap.url}/v2/library/app/manifests/${reference}`, { headers })).status;
}

it("says who pulled what, and how that ended, in the order of the ends", async () => {
  const file = join(folder, "audit.jsonl");
  await start({ file });
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  await ask(`${hubcap.url}/v2/`);
  await pull("1");
  // A client has a manifest a little before it is held.
  await expect.poll(() => hubcap.metric("hubcap_cache_manifests")).toBe(1);
  await pull("1");
  await ask(`${hubcap.url}/v2/library/app/blobs/${layer?.digest}`);
  await pull("nothing");
  await ask(`${hubcap.url}/v2/library/app/manifests/1`, { method: "DELETE" });
  await hubcap.stop();

  const lines = await linesIn(file);
  const worker = {
    client: "worker-1",
    address: "127.0.0.1",
    node: "worker-1",
    userAgent: "containerd/2.1.0",
  };
  const content = { upstream: "docker.io", repository: "library/app", complete: true };
  expect(lines).toMatchObject([
    {
      ...worker,
      ...content,
      kind: "manifest",
      reference: "1",
      digest: image.root.digest,
      outcome: "miss",
      status: 200,
    },
    {
      ...worker,
      ...content,
      kind: "manifest",
      reference: "1",
      digest: image.root.digest,
      outcome: "hit",
      status: 200,
    },
    {
      client: "127.0.0.1",
      kind: "blob",
      reference: layer?.digest,
      digest: layer?.digest,
      outcome: "miss",
      status: 200,
    },
    {
      ...worker,
      kind: "manifest",
      reference: "nothing",
      outcome: "error",
      status: 404,
      reason: expect.stringMatching(/no manifest/),
    },
    { kind: "unknown", method: "DELETE", outcome: "error", status: 405 },
  ]);
  // The promise of docs/operations.md.
  expect(Object.keys(lines[0] ?? {})).toEqual([
    ..."time event client address node userAgent method kind upstream repository reference digest".split(" "),
    ..."outcome status complete bytes durationMs".split(" "),
  ]);
  for (const line of lines) {
    expect(line).toMatchObject({ event: "pull", bytes: expect.any(Number), durationMs: expect.any(Number) });
    expect(line["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  }
  expect(Number(lines[2]?.["bytes"])).toBeGreaterThanOrEqual(layer?.size ?? Infinity);
});

it("begins a new file when the old one was renamed, and on SIGHUP, and loses nothing", async () => {
  const file = join(folder, "audit.jsonl");
  await start({ file });
  const moved = [join(folder, "1"), join(folder, "2")] as const;
  await pull("1", "first");
  await expect.poll(() => linesIn(file)).toHaveLength(1);
  await rename(file, moved[0]);
  await pull("1", "second");
  await expect.poll(() => linesIn(file)).toHaveLength(1);
  await rename(file, moved[1]);
  process.kill(hubcap.pid, "SIGHUP");
  await pull("1", "third");
  await hubcap.stop();
  expect([await nodesIn(moved[0]), await nodesIn(moved[1]), await nodesIn(file)]).toEqual([
    ["first"],
    ["second"],
    ["third"],
  ]);
});

it("stands between the lines of the log when it goes to standard output", async () => {
  await start({ stdout: true });
  await pull("1");
  const line = await hubcap.logged(({ event }) => event === "pull");
  expect(line).toMatchObject({ node: "worker-1", outcome: "miss" });
  expect(line).not.toHaveProperty("level");
});

it("loses lines, and never a pull, when the disk is full, and logs it once", async () => {
  await start({ file: "/dev/full" });
  for (const node of ["first", "second", "third"]) {
    expect(await pull("1", node)).toBe(200);
    const lost = node === "first" ? 1 : node === "second" ? 2 : 3;
    await expect.poll(() => hubcap.metric("hubcap_audit_lost_lines_total")).toBe(lost);
  }
  const complaints = hubcap
    .logs()
    .filter(({ msg }) => String(msg).startsWith("the audit log cannot be written"));
  expect(complaints).toHaveLength(1);
});

it("is not there unless it is asked for", async () => {
  await start(undefined);
  await pull("1");
  await hubcap.stop();
  expect(hubcap.logs().filter(({ event }) => event !== undefined)).toEqual([]);
});

it("says by what a client was known, and that it was refused for who it is", async () => {
  const file = join(folder, "audit.jsonl");
  const tokenFile = join(folder, "token");
  await writeFile(tokenFile, "sesame-of-ci\n");
  hubcap = await startHubcap({
    config: {
      audit: { file },
      upstreams: { "docker.io": upstreamOf(hub) },
      identities: { tokens: [{ name: "ci", file: tokenFile }] },
      access: [
        { who: ["token:ci"], repositories: ["**"], allow: "pull" },
        { who: ["*"], repositories: ["**"], allow: "deny" },
      ],
    },
  });
  const url = `${hubcap.url}/v2/library/app/manifests/1`;
  await ask(url, { headers: { authorization: "Bearer sesame-of-ci" } });
  await ask(url);
  await hubcap.stop();
  const [known, stranger] = await linesIn(file);
  expect(known).toMatchObject({ identity: "token:ci", status: 200 });
  expect(known).not.toHaveProperty("denied");
  expect(stranger).toMatchObject({ status: 401, denied: "rule" });
  expect(stranger).not.toHaveProperty("identity");
});
