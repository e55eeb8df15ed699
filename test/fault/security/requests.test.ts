/** Requests that mean harm: refused before anything is asked, opened or written for them. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { askRaw, sendRaw } from "../../support/raw.ts";

const hex = "0123456789abcdef".repeat(8);
const digest = `sha256:${hex.slice(0, 64)}`;

let hub: Hub;
let hubcap: Hubcap;

beforeAll(async () => {
  hub = await startHub({ auth: "none" });
  const image = await buildImage();
  for (const tag of ["1", "2", "3"]) hub.push(image, "library/app", tag);
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

afterEach(() => hub.counts.reset());

function errorOf(text: string): string | undefined {
  return /"code":"(?<code>[A-Z_]+)"/.exec(text)?.groups?.["code"];
}

describe("digests", () => {
  test.each([
    ["a digit short", `sha256:${hex.slice(0, 63)}`],
    ["in upper case", `sha256:${hex.slice(0, 64).toUpperCase()}`],
    ["of sha1", `sha1:${hex.slice(0, 40)}`],
    ["of md5", `md5:${hex.slice(0, 32)}`],
    ["that climbs", "sha256:../../catalog.sqlite"],
    ["that climbs in disguise", "sha256:%2e%2e%2f%2e%2e%2fcatalog.sqlite"],
    ["of sha512 and half its length", `sha512:${hex.slice(0, 64)}`],
    ["of 10 kB", `sha256:${hex.repeat(78)}`],
    ["with NUL at its end", `${digest}%00`],
    ["with a parent folder at its end", `${digest}/../../../catalog.sqlite`],
  ])("S15: one %s is refused, and no upstream is asked for it", async (_, text) => {
    for (const kind of ["blobs", "manifests", "referrers"]) {
      const { status, text: answer } = await askRaw(hubcap.url, `/v2/library/app/${kind}/${text}`);
      expect([status, errorOf(answer)]).toEqual([400, "DIGEST_INVALID"]);
    }
    expect(hub.counts.requests).toEqual([]);
  });
});

describe("names", () => {
  test.each([
    ["that climbs", "a/../b"],
    ["that climbs in disguise", "a/%2e%2e%2fb"],
    ["that climbs in part in disguise", "a/%2e%2e/b"],
    ["with an empty component", "a//b"],
    ["in upper case", "A/b"],
    ["that stands still", "a/./b"],
    ["with NUL in it", "a%00b"],
    ["with a line end in it", "a%0d%0aX-Evil:%201"],
    ["of 256 characters", `a/${"b".repeat(254)}`],
    ["of 10 kB", "a-".repeat(5000)],
    ["that makes careless patterns think for ever", `${"a".repeat(200)}!`],
  ])("S16: one %s is refused, and no upstream is asked for it", async (_, name) => {
    for (const rest of ["manifests/1", `blobs/${digest}`, "tags/list", `referrers/${digest}`]) {
      const { status, text } = await askRaw(hubcap.url, `/v2/${name}/${rest}`);
      expect([status, errorOf(text)]).toEqual([400, "NAME_INVALID"]);
    }
    expect(hub.counts.requests).toEqual([]);
  });

  test("S16: 50 kB of one are cut short before they are read", async () => {
    expect((await askRaw(hubcap.url, `/v2/${"a-".repeat(25_000)}!/manifests/1`)).status).toBe(431);
  });
});

describe("what is not a pull", () => {
  const routes = [
    "/v2/",
    "/v2/library/app/manifests/1",
    `/v2/library/app/blobs/${digest}`,
    "/v2/library/app/blobs/uploads/",
    "/v2/library/app/tags/list",
    `/v2/library/app/referrers/${digest}`,
    "/v2/_catalog",
    "/",
  ];

  test.each(["PUT", "POST", "PATCH", "DELETE"])("S25: %s is unsupported on every route", async (method) => {
    for (const path of routes) {
      // The length is a promise that is never kept: who waits for the body waits for ever.
      const headers = ["Content-Length: 1000000000", "X-HTTP-Method-Override: GET"];
      const { status, text } = await askRaw(hubcap.url, path, { method, headers });
      expect([path, status, errorOf(text)]).toEqual([path, 405, "UNSUPPORTED"]);
    }
    expect(hub.counts.requests).toEqual([]);
  });

  test("S25: a body is not read, however much there is of it", async () => {
    const chunk = Buffer.alloc(1024 * 1024, "a");
    function* upload(): Generator<string | Buffer> {
      yield `PUT /v2/library/app/manifests/1 HTTP/1.1\r\nHost: mirror\r\nContent-Length: ${2 ** 40}\r\n\r\n`;
      for (;;) yield chunk;
    }
    const { taken } = await sendRaw(hubcap.url, upload());
    // The connection was cut, and what the systems between us hold in their buffers is not read.
    expect(taken).toBeLessThan(32 * 1024 * 1024);
  });

  test("S25: a header makes no other method of a pull", async () => {
    for (const method of ["GET", "HEAD"]) {
      const headers = ["X-HTTP-Method-Override: DELETE"];
      const { status } = await askRaw(hubcap.url, "/v2/library/app/manifests/1", { method, headers });
      expect(status).toBe(200);
    }
    expect((await ask(`${hubcap.url}/v2/library/app/manifests/1`)).status).toBe(200);
  });
});

function page(n: string): Promise<Reply> {
  return ask(`${hubcap.url}/v2/library/app/tags/list?n=${n}`);
}

describe("pages", () => {
  test.each(["n=2147483647", "n=-1", "n=1e9", ""])("S26: there is no catalog, whatever %s", async (query) => {
    const { status, body } = await ask(`${hubcap.url}/v2/_catalog?${query}`);
    expect([status, errorOf(body.toString())]).toEqual([404, "NAME_UNKNOWN"]);
  });

  test("S26: a page of tags is never longer than it may be, and n is a number or nothing", async () => {
    for (const n of ["-1", "1e9", "0x10", "1.5", "NaN", "%00"]) expect((await page(n)).status).toBe(400);
    for (const n of ["2147483647", "1000000000", "9".repeat(400)]) {
      const { status, body } = await page(n);
      expect([status, JSON.parse(body.toString())]).toEqual([
        200,
        { name: "library/app", tags: ["1", "2", "3"] },
      ]);
    }
    // Upstream is never asked for as many as a client dares to.
    expect(hub.counts.requests.filter(({ path }) => /[?&]n=(?!1000$)/.test(path))).toEqual([]);
  });
});

describe("bytes that are hardly a request", () => {
  const line = "GET /v2/ HTTP/1.1\r\nHost: mirror\r\nConnection: close\r\n";

  // The status 0: the connection is ended without a word.
  test.each<[string, string, number]>([
    ["both lengths", `${line}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ["two lengths", `${line}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`, 400],
    ["a space before the colon", `${line}Content-Length : 5\r\n\r\nhello`, 400],
    ["a length that is none", `${line}Content-Length: 0x5\r\n\r\nhello`, 400],
    ["a coding that is not chunked", `${line}Transfer-Encoding: gzip\r\n\r\n`, 400],
    ["a folded header", `${line}X-A: b\r\n c\r\n\r\n`, 400],
    ["__proto__ as a header", `${line}__proto__: x\r\nconstructor: y\r\n\r\n`, 200],
    ["__proto__ in the query", line.replace("/v2/ ", "/v2/?__proto__=x&ns=__proto__ ").concat("\r\n"), 404],
    ["an extension of 1 MB", `${line}Transfer-Encoding: chunked\r\n\r\n5;${"e".repeat(2 ** 20)}\r\n`, 400],
    ["1 MB of headers", `${line}X-A: ${"e".repeat(2 ** 20)}\r\n\r\n`, 431],
    ["10 000 headers", `${line}${"X-A: b\r\n".repeat(10_000)}\r\n`, 431],
    ["a bare line feed", "GET /v2/ HTTP/1.1\nHost: mirror\n\n", 400],
    ["no host", "GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n", 400],
    ["a host that is none", line.replace("Host: mirror", "Host: [").concat("\r\n"), 400],
    ["another address for a path", line.replace("/v2/ ", "http://evil.test/v2/ ").concat("\r\n"), 404],
    ["a star for a path", line.replace("/v2/ ", "* ").concat("\r\n"), 400],
    ["a tunnel", line.replace("GET /v2/ ", "CONNECT evil.test:443 ").concat("\r\n"), 0],
    ["an upgrade", `${line.replace("close", "close, upgrade")}Upgrade: websocket\r\n\r\n`, 200],
    ["another protocol", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400],
    ["nothing but line ends", "\r\n".repeat(100).concat(line, "\r\n"), 200],
  ])("S27: %s", async (_, bytes, expected) => {
    const { status } = await sendRaw(hubcap.url, [Buffer.from(bytes, "latin1")]);
    expect(status).toBe(expected);
    expect((await ask(`${hubcap.url}/v2/`)).status).toBe(200);
    expect(hubcap.errors).toBe("");
    expect(hub.counts.requests).toEqual([]);
  });

  test("S27: a second request that hides in a refused body is none", async () => {
    const hidden = "GET /v2/library/app/manifests/smuggled HTTP/1.1\r\nHost: mirror\r\n\r\n";
    const { status, text } = await sendRaw(hubcap.url, [
      `PUT /v2/ HTTP/1.1\r\nHost: mirror\r\nContent-Length: 0${hidden.length}\r\n\r\n${hidden}`,
    ]);
    expect([status, text.split("HTTP/1.1 ").length - 1]).toEqual([405, 1]);
    expect(hub.counts.requests).toEqual([]);
  });
});

describe("the log", () => {
  test.each<[string, string, string]>([
    ["line ends in the path", "/v2/library/app/manifests/%0d%0a%7b%22level%22:%22fatal%22%7d", ""],
    ["an escape in the name", "/v2/library/%1b[2J/manifests/1", ""],
    ["a host of control characters", "/v2/library/app/manifests/1?ns=%1b%00%7f%e2%80%a8%c2%9b2J", ""],
    ["control characters in the user agent", "/v2/", "\u0085\u009b2J\u00e2\u0080\u00a8"],
    ["a node that is not one", "/v2/", "\r\nX-Hubcap-Node: \u009b2J"],
  ])("S29: %s are one line of JSON", async (name, path, rest) => {
    await askRaw(hubcap.url, path, { headers: [`User-Agent: ${name}${rest}`] });
    const line = await hubcap.logged(({ userAgent }) => String(userAgent).startsWith(name));
    expect(line).toMatchObject({ level: "info", msg: "request", client: "127.0.0.1" });
    expect(hubcap.logs().filter(({ msg }) => msg !== "request")).toEqual([
      expect.objectContaining({ msg: "serving" }),
    ]);
  });
});
