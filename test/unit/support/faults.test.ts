/** Each fault does on the wire what it says. */
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, openReply, type Reply } from "../../support/ask.ts";
import { allBytes } from "../../support/content.ts";
import { abuseFault, bareAbuseFault, htmlFault } from "../../support/faults.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { buildImage, type Image } from "../../support/images.ts";

let hub: Hub;
let image: Image;
let digest: string;
let bytes: Buffer;

beforeEach(async () => {
  hub = await startHub({ auth: "none" });
  image = await buildImage({ layers: 1, layerBytes: 200_000 });
  hub.push(image, "library/app", "1");
  digest = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
  const content = image.blobs.get(digest);
  bytes = content === undefined ? Buffer.alloc(0) : await allBytes(content);
});

afterEach(() => hub.stop());

function askManifest(headers: Record<string, string> = {}): Promise<Reply> {
  return ask(`${hub.url}/v2/library/app/manifests/1`, { headers: { accept: "*/*", ...headers } });
}

function askRegistryBlob(): Promise<Reply> {
  return ask(`${hub.url}/v2/library/app/blobs/${digest}`);
}

async function askBlob(headers: Record<string, string> = {}): Promise<Reply> {
  const { location = "" } = (await askRegistryBlob()).headers;
  return ask(location, { headers });
}

interface Wire {
  readonly bytes: Buffer;
  readonly text: string;
  readonly reset: boolean;
}

/** What comes over a bare socket until the other side ends the connection. */
function wire(port: number, request: string): Promise<Wire> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(request));
    const pieces: (Buffer | string)[] = [];
    let reset = false;
    socket.on("data", (piece) => pieces.push(piece));
    socket.on("end", () => socket.end());
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reset = error.code === "ECONNRESET";
    });
    socket.on("close", () => {
      const all = Buffer.concat(pieces.map((piece) => Buffer.from(piece)));
      resolve({ bytes: all, text: all.toString("latin1"), reset });
    });
  });
}

async function wireBlob(headers = ""): Promise<Wire & { head: string; body: Buffer }> {
  const location = new URL((await askRegistryBlob()).headers.location ?? "");
  const request = `GET ${location.pathname}${location.search} HTTP/1.1\r\nHost: cdn\r\n${headers}\r\n`;
  const answer = await wire(hub.cdn.port, request);
  const gap = answer.text.indexOf("\r\n\r\n");
  return { ...answer, head: answer.text.slice(0, gap), body: answer.bytes.subarray(gap + 4) };
}

describe("whom a fault strikes", () => {
  it("strikes as often as it is to, after as many as it is to", async () => {
    const fault = hub.fault({ asks: "manifest", kind: "status", status: 503, skip: 1, times: 2 });
    const statuses: number[] = [];
    for (let count = 0; count < 4; count += 1) {
      statuses.push((await askManifest()).status);
    }
    expect(statuses).toEqual([200, 503, 503, 200]);
    expect(fault.hits).toBe(2);
    expect(hub.counts.requests.map((request) => request.fault)).toEqual([
      undefined,
      "status",
      "status",
      undefined,
    ]);
  });

  it("strikes by origin, method, path, repository, reference, digest and range", async () => {
    hub.push(image, "library/other", "1");
    const misses = [
      { origin: "token" },
      { method: "POST" },
      { path: /nowhere/ },
      { repository: "library/other" },
      { reference: "2" },
      { digest },
      { ranged: true },
      { asks: "blob" },
    ] as const;
    for (const target of misses) {
      hub.fault({ ...target, kind: "status", status: 500 });
    }
    expect((await askManifest()).status).toBe(200);
    const hits = [
      { origin: "registry" },
      { method: "GET" },
      { path: /manifests\/1$/ },
      { repository: "library/app" },
      { reference: "1" },
      { ranged: false },
    ] as const;
    for (const [place, target] of hits.entries()) {
      const fault = hub.fault({ ...target, kind: "status", status: 550 + place });
      expect((await askManifest()).status).toBe(550 + place);
      fault.remove();
    }
    expect((await askRegistryBlob()).status).toBe(500);
    expect((await askManifest({ range: "bytes=0-" })).status).toBe(500);
  });

  it("costs a pull when an honest answer is spoilt, and none when something else answers", async () => {
    hub.fault({ kind: "status", status: 500, times: 1 });
    await askManifest();
    expect(hub.spent()).toBe(0);
    hub.fault({ kind: "reset", times: 1 });
    await expect(askManifest()).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(hub.spent()).toBe(1);
  });
});

describe("answers in the registry's place", () => {
  it("status with headers and body; HTML; the abuse limit", async () => {
    hub.fault({ kind: "status", status: 418, headers: { "x-a": ["1", "2"] }, body: "tea", times: 1 });
    const reply = await askManifest();
    expect([reply.status, reply.body.toString(), reply.headers["x-a"]]).toEqual([418, "tea", "1, 2"]);
    hub.fault({ ...htmlFault, times: 1 });
    expect((await askManifest()).headers["content-type"]).toBe("text/html");
    hub.fault({ ...abuseFault, times: 1 });
    expect((await askManifest()).headers["retry-after"]).toBe("60");
  });

  it("raw bytes, malformed as they are", async () => {
    hub.fault({ ...bareAbuseFault, times: 1 });
    const answer = await wire(hub.registry.port, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(answer.text).toBe(bareAbuseFault.bytes);
    hub.fault({ kind: "raw", bytes: "HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n", times: 1 });
    await expect(askManifest()).rejects.toMatchObject({ code: "HPE_INVALID_HEADER_TOKEN" });
  });

  it("a flood, in chunks or with a length", async () => {
    hub.fault({ kind: "flood", bytes: 5_000_000, prefix: '{"token":"', times: 1 });
    const chunked = await askManifest();
    expect(chunked.body).toHaveLength(5_000_000);
    expect(chunked.body.toString("latin1", 0, 12)).toBe('{"token":"aa');
    expect(chunked.headers["content-length"]).toBeUndefined();
    hub.fault({ kind: "flood", bytes: 1e9, framing: "length", times: 1 });
    const large = await openReply(`${hub.url}/v2/`);
    expect(large.headers["content-length"]).toBe("1000000000");
    large.destroy();
  });

  it("nothing, until it is released", async () => {
    const fault = hub.fault({ asks: "manifest", kind: "hang" });
    const reply = askManifest();
    await fault.held();
    expect(hub.counts.requests[0]?.status).toBeUndefined();
    fault.release();
    expect((await reply).status).toBe(200);
    expect((await askManifest()).status).toBe(200);
  });

  it("the honest answer, later", async () => {
    hub.fault({ kind: "delay", ms: 30, times: 1 });
    const before = performance.now();
    expect((await askManifest()).status).toBe(200);
    expect(performance.now() - before).toBeGreaterThan(25);
  });
});

describe("bodies that break", () => {
  it("stall: so many bytes, then none until released", async () => {
    const fault = hub.fault({ origin: "cdn", kind: "stall", after: 1000 });
    const reply = askBlob();
    await fault.held();
    expect(hub.counts.requests.at(-1)?.bytes).toBe(1000);
    fault.release();
    expect((await reply).body).toEqual(bytes);
  });

  it("stall: an end by the client is noticed", async () => {
    const fault = hub.fault({ origin: "cdn", kind: "stall", after: 0 });
    const { location = "" } = (await askRegistryBlob()).headers;
    const response = await openReply(location);
    response.on("error", () => {});
    await fault.held();
    response.destroy();
    await hub.counts.when(({ origin, over }) => origin === "cdn" && over);
    expect(hub.counts.requests.at(-1)).toMatchObject({ bytes: 0, complete: false });
  });

  it("reset: after so many bytes, at the last byte, or before any", async () => {
    hub.fault({ origin: "cdn", kind: "reset", after: 5000, times: 1 });
    const middle = await wireBlob();
    expect([middle.reset, middle.body.length]).toEqual([true, 5000]);
    hub.fault({ origin: "cdn", kind: "reset", after: -1, times: 1 });
    const last = await wireBlob();
    expect([last.reset, last.body.length]).toEqual([true, bytes.length - 1]);
    hub.fault({ origin: "cdn", kind: "reset", times: 1 });
    const before = await wireBlob();
    expect([before.reset, before.bytes.length]).toEqual([true, 0]);
  });

  it("truncate: an orderly end in each framing", async () => {
    hub.fault({ origin: "cdn", kind: "truncate", after: 500, framing: "close", times: 1 });
    const closed = await wireBlob();
    expect(closed.head.toLowerCase()).not.toMatch(/content-length|transfer-encoding/);
    expect([closed.reset, closed.body.length]).toEqual([false, 500]);
    hub.fault({ origin: "cdn", kind: "truncate", after: 500, framing: "length", times: 1 });
    const sized = await wireBlob();
    expect(sized.head.toLowerCase()).toContain(`content-length: ${bytes.length}`);
    expect([sized.reset, sized.body.length]).toEqual([false, 500]);
    hub.fault({ origin: "cdn", kind: "truncate", after: 500, framing: "chunked", times: 1 });
    const chunked = await wireBlob();
    expect(chunked.head.toLowerCase()).toContain("transfer-encoding: chunked");
    expect(chunked.body.toString("latin1", 0, 5)).toBe("1f4\r\n");
    expect(chunked.body.toString("latin1")).not.toContain("\r\n0\r\n");
    expect(chunked.reset).toBe(false);
  });

  it("truncate: a client sees a success only where the framing hides the end", async () => {
    hub.fault({ origin: "cdn", kind: "truncate", after: 500, framing: "close", times: 1 });
    expect((await askBlob()).broken).toBeUndefined();
    hub.fault({ origin: "cdn", kind: "truncate", after: 500, framing: "length", times: 1 });
    expect((await askBlob()).broken).toMatchObject({ code: "ECONNRESET" });
  });

  it("drip: slowly, and whole", async () => {
    hub.fault({ origin: "cdn", kind: "drip", bytesPerSecond: 1_000_000, times: 1 });
    const before = performance.now();
    expect((await askBlob()).body).toEqual(bytes);
    expect(performance.now() - before).toBeGreaterThan(150);
  });
});

describe("honest answers made wrong", () => {
  it("chunked: no length", async () => {
    hub.fault({ origin: "cdn", kind: "chunked", times: 1 });
    const reply = await askBlob();
    expect(reply.headers["content-length"]).toBeUndefined();
    expect(reply.body).toEqual(bytes);
  });

  it("flip: one bit of one byte, the same one when a range is asked for", async () => {
    hub.fault({ origin: "cdn", kind: "flip", at: -10 });
    const whole = (await askBlob()).body;
    expect(whole.length).toBe(bytes.length);
    expect(whole.subarray(0, -10)).toEqual(bytes.subarray(0, -10));
    expect(whole.at(-10)).toBe((bytes.at(-10) ?? 0) ^ 1);
    expect(whole.subarray(-9)).toEqual(bytes.subarray(-9));
    const part = (await askBlob({ range: `bytes=${bytes.length - 100}-` })).body;
    expect(part).toEqual(whole.subarray(-100));
    const untouched = (await askBlob({ range: "bytes=0-99" })).body;
    expect(untouched).toEqual(bytes.subarray(0, 100));
  });

  it("empty: 200 and nothing", async () => {
    hub.fault({ origin: "cdn", kind: "empty", times: 1 });
    const reply = await askBlob();
    expect([reply.status, reply.headers["content-length"], reply.body.length]).toEqual([200, "0", 0]);
  });

  it("whole: the range is ignored", async () => {
    hub.fault({ origin: "cdn", kind: "whole", times: 1 });
    const reply = await askBlob({ range: "bytes=10-" });
    expect([reply.status, reply.headers["content-range"]]).toEqual([200, undefined]);
    expect(reply.body).toEqual(bytes);
  });

  it("contentRange: start and total moved", async () => {
    hub.fault({ origin: "cdn", kind: "contentRange", start: -5, total: 7, times: 1 });
    const reply = await askBlob({ range: "bytes=10-19" });
    expect(reply.headers["content-range"]).toBe(`bytes 5-14/${bytes.length + 7}`);
    expect(reply.body).toEqual(bytes.subarray(10, 20));
  });

  it("headers: set and removed", async () => {
    hub.fault({
      asks: "manifest",
      kind: "headers",
      set: {
        "docker-content-digest": `sha256:${"0".repeat(64)}`,
        etag: '"other"',
        "set-cookie": ["a=1", "b=2"],
        connection: "docker-content-digest",
      },
      remove: ["docker-distribution-api-version"],
      times: 1,
    });
    const reply = await askManifest();
    expect(reply.headers).toMatchObject({
      "docker-content-digest": `sha256:${"0".repeat(64)}`,
      etag: '"other"',
      "set-cookie": ["a=1", "b=2"],
      connection: "docker-content-digest",
    });
    expect(reply.headers["docker-distribution-api-version"]).toBeUndefined();
    expect(`sha256:${createHash("sha256").update(reply.body).digest("hex")}`).toBe(image.root.digest);
  });

  it("gzip: encoded, whatever the client takes", async () => {
    hub.fault({ origin: "cdn", kind: "gzip", times: 1 });
    const reply = await askBlob({ "accept-encoding": "identity" });
    expect(reply.headers["content-encoding"]).toBe("gzip");
    expect(gunzipSync(reply.body)).toEqual(bytes);
  });

  it("body: other bytes under the same headers", async () => {
    hub.fault({ asks: "manifest", kind: "body", body: "{}", times: 1 });
    const reply = await askManifest();
    expect(reply.headers["docker-content-digest"]).toBe(image.root.digest);
    expect([reply.body.toString(), reply.headers["content-length"]]).toEqual(["{}", "2"]);
  });

  it("hops and loop: redirects in a row, and without end", async () => {
    const follow = async (most: number): Promise<{ redirects: number; body: Buffer }> => {
      let url = `${hub.url}/v2/library/app/blobs/${digest}`;
      let redirects = 0;
      let reply = await ask(url);
      while (reply.status === 307 && redirects < most) {
        redirects += 1;
        url = new URL(reply.headers.location ?? "", url).href;
        reply = await ask(url);
      }
      return { redirects, body: reply.body };
    };
    const fault = hub.fault({ asks: "blob", kind: "hops", count: 6, origin: "registry" });
    expect(await follow(20)).toEqual({ redirects: 6, body: bytes });
    fault.remove();
    hub.fault({ asks: "blob", kind: "loop", origin: "registry" });
    expect((await follow(20)).redirects).toBe(20);
  });
});
