/** Several processes answer as one: one of them fetches and counts for all, and each may die. */
import { once } from "node:events";
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { Agent } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, openReply, type AskOptions, type Reply } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Image } from "../../support/images.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { patience } from "../../support/patience.ts";

const repository = "library/app";
const token = "an-admin-token";

/** How long something that is bound to happen is waited for. */
/** Connections, each of which may be any process's: that one process gets all of them happens once in a billion times. */
const many = 30;

let hub: Hub;
let hubcap: Hubcap;
let image: Image;
let layer: string;
let size: number;

beforeEach(async () => {
  const tokenFile = join(await mkdtemp(join(tmpdir(), "hubcap-token-")), "token");
  await writeFile(tokenFile, token);
  hub = await startHub();
  image = await buildImage({ seed: "workers", layers: 1, layerBytes: 2_000_000, platforms: ["linux/amd64"] });
  hub.push(image, repository, "1");
  ({ digest: layer, size } = image.platforms.get("linux/amd64")?.layers[0] ?? { digest: "", size: 0 });
  hubcap = await startHubcap({
    config: {
      workers: 2,
      admin: { tokenFile },
      audit: { stdout: true },
      upstreams: { "docker.io": upstreamOf(hub) },
    },
  });
});
afterEach(async () => {
  await hubcap.dispose();
  await hub.stop();
});

const blobUrl = (): string => `${hubcap.url}/v2/${repository}/blobs/${layer}`;
const manifestUrl = (reference: string): string => `${hubcap.url}/v2/${repository}/manifests/${reference}`;

/** The same request over as many connections at once. */
function askAll(url: string, options: AskOptions = {}): Promise<Reply[]> {
  return Promise.all(Array.from({ length: many }, () => ask(url, { ...options, agent: new Agent() })));
}

const statuses = (replies: readonly Reply[]): number[] => [...new Set(replies.map(({ status }) => status))];

/** Pulls the image, and waits until its layer is held. */
async function hold(): Promise<void> {
  const pull = { mirror: hubcap.url, ns: "docker.io", repository, reference: "1" };
  expect((await pullLikeContainerd(pull)).errors).toEqual([]);
  await expect.poll(() => hubcap.metric("hubcap_fills_running"), patience).toBe(0);
}

const hit = { kind: "manifest", outcome: "hit" } as const;

/** How many hits were counted, timed, logged and audited. */
async function counts(): Promise<number[]> {
  const lines = hubcap.logs().filter(({ kind, outcome }) => kind === hit.kind && outcome === hit.outcome);
  return [
    await hubcap.metric("hubcap_requests_total", hit),
    await hubcap.metric("hubcap_request_seconds_count", hit),
    lines.filter(({ event }) => event === undefined).length,
    lines.filter(({ event }) => event === "pull").length,
  ];
}

/** How often the image was asked for, by which eviction goes. */
async function uses(): Promise<number> {
  const { images } = (await hubcap.status("/api/v1/cache/images")) as { images: { uses: number }[] };
  return images[0]?.uses ?? 0;
}

/** The processes that Hubcap has forked. */
function workers(): number[] {
  const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return processes.filter((pid) => statusOf(pid).includes(`\nPPid:\t${hubcap.pid}\n`)).map(Number);
}

function statusOf(pid: number | string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return "";
  }
}

/** What the files are that a process has open, as the system names them. */
function openFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).flatMap((name) => {
    try {
      return [readlinkSync(join(folder, name))];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
}

/** One that has ended and was not waited for yet is a zombie. */
const isRunning = (pid: number): boolean => /^State:\s+[^Z]/m.test(statusOf(pid));

describe("a worker", () => {
  it("serves what is held, whole and in part, without its owner", async () => {
    await hold();
    await askAll(blobUrl());
    process.kill(hubcap.pid, "SIGSTOP");
    const range = { headers: { range: "bytes=1-9" } };
    const asked = [blobUrl(), manifestUrl("1"), manifestUrl(image.root.digest)].map((url) =>
      Array.from({ length: many }, () => ask(url, { ...range, agent: new Agent() })),
    );
    // Those that the owner has accepted itself are answered when it goes on.
    for (const replies of asked) await Promise.any(replies);
    process.kill(hubcap.pid, "SIGCONT");
    const [blobs = [], ...manifests] = await Promise.all(asked.map((replies) => Promise.all(replies)));
    expect(new Set(blobs.map(({ status, body }) => `${status} ${body.length}`))).toEqual(new Set(["206 9"]));
    expect(new Set(manifests.flat().map(({ status, body }) => `${status} ${body.length}`))).toEqual(
      new Set([`200 ${image.root.size}`]),
    );
  });

  it("hands on what is not held, so that 100 clients cost one download", async () => {
    const readers = Array.from({ length: 100 }, () => ask(blobUrl(), { agent: new Agent() }));
    const replies = await Promise.all(readers);
    expect(statuses(replies)).toEqual([200]);
    expect(replies.every(({ body, broken }) => body.length === size && broken === undefined)).toBe(true);
    expect(hub.counts.cdnGets.total).toBe(1);
  });

  it("says in the status line why a HEAD is refused", async () => {
    const replies = await askAll(manifestUrl("none"), { method: "HEAD" });
    expect(new Set(replies.map(({ phrase }) => phrase))).toEqual(
      new Set([`docker.io has no manifest ${repository}:none - Hubcap`]),
    );
  });

  it("does not serve what was removed", async () => {
    await hold();
    expect(statuses(await askAll(manifestUrl(image.root.digest)))).toEqual([200]);
    await hub.stop();
    const removed = await ask(`${hubcap.statusUrl}/api/v1/cache/images?image=docker.io/${repository}:1`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${token}` },
    });
    expect(removed.status).toBe(200);
    for (const url of [blobUrl(), manifestUrl(image.root.digest), manifestUrl("1")])
      expect(statuses(await askAll(url))).toEqual([503]);
  });

  it("hands on a tag that is to be checked, and so follows it when it moves", async () => {
    await hubcap.restart({
      workers: 2,
      freshness: { tagTtl: "0s" },
      upstreams: { "docker.io": upstreamOf(hub) },
    });
    await hold();
    await askAll(manifestUrl("1"));
    const moved = await buildImage({ seed: "moved" });
    hub.push(moved, repository, "1");
    const digests = (await askAll(manifestUrl("1"))).map(({ headers }) => headers["docker-content-digest"]);
    expect([...new Set(digests)]).toEqual([moved.root.digest]);
  });

  it("has all it does counted, logged and noted once, by its owner", async () => {
    await hold();
    const before = await counts();
    await askAll(manifestUrl(image.root.digest));
    await expect.poll(counts, patience).toEqual(before.map((count) => count + many));
    await expect.poll(uses, patience).toBeGreaterThanOrEqual(many);
  });

  it("that dies is replaced, and harms no other process", async () => {
    await hold();
    const [first = 0] = workers();
    process.kill(first, "SIGKILL");
    await expect.poll(() => hubcap.metric("hubcap_worker_restarts_total"), patience).toBe(1);
    expect((await hubcap.logged(({ worker }) => worker === first))["level"]).toBe("error");
    await expect.poll(() => workers().filter((pid) => pid !== first).length, patience).toBe(1);
    expect(statuses(await askAll(blobUrl()))).toEqual([200]);
  });

  it("ends with its owner, however that ends", async () => {
    const [worker = 0] = workers();
    expect(isRunning(worker)).toBe(true);
    await hubcap.kill9();
    await expect.poll(() => isRunning(worker), patience).toBe(false);
  });

  it("lets running downloads finish when its owner is stopped", async () => {
    const half = hub.fault({ origin: "cdn", digest: layer, kind: "stall", after: 1_000_000 });
    const readers = await Promise.all(
      Array.from({ length: many }, () => openReply(blobUrl(), { agent: new Agent() })),
    );
    const stopped = hubcap.stop();
    const unready = async (): Promise<number> => (await ask(`${hubcap.statusUrl}/readyz`)).status;
    await expect.poll(unready, patience).toBe(503);
    half.release();
    const ends = readers.map(async (reader) => {
      let bytes = 0;
      reader.on("data", (piece: Buffer) => (bytes += piece.length));
      await once(reader, "end");
      return bytes;
    });
    expect([...new Set(await Promise.all(ends))]).toEqual([size]);
    expect(await stopped).toEqual({ code: 0, signal: null });
  });

  it("tells all that it has to tell before it ends, in any alphabet", async () => {
    await hold();
    await askAll(manifestUrl("1"), { headers: { "User-Agent": "caf\u00e9" } });
    expect(await hubcap.stop()).toEqual({ code: 0, signal: null });
    const lines = hubcap.logs().filter(({ userAgent }) => userAgent === "caf\u00e9");
    expect(lines.filter(({ event }) => event === undefined)).toHaveLength(many);
    expect(lines.filter(({ event }) => event === "pull")).toHaveLength(many);
  });
});

describe("who a client is", () => {
  it("is the address of its connection, whatever it says of itself", async () => {
    await askAll(`${hubcap.url}/v2/`, { headers: { "x-hubcap-client": "192.0.2.1" } });
    const clients = (): unknown[] =>
      hubcap.logs().flatMap(({ kind, client }) => (kind === "ping" ? [client] : []));
    await expect.poll(() => clients().length, patience).toBe(many);
    expect([...new Set(clients())]).toEqual(["127.0.0.1"]);
  });

  it("is sent to the owner where only the worker knows it", () => {
    // Other tests may have a Hubcap with workers at the same time.
    const open = openFiles(hubcap.pid);
    const sockets = readFileSync("/proc/net/unix", "latin1").matchAll(/ (\d+) (\S+\/owner\.sock)$/gm);
    const mine = [...sockets].filter(([, inode]) => open.includes(`socket:[${inode}]`));
    const folders = new Set(mine.map(([, , path = ""]) => dirname(path)));
    expect([...folders].map((folder) => statSync(folder).mode & 0o777)).toEqual([0o700]);
  });
});
