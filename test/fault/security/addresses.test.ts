/** Addresses that are called: the configured upstreams, and none that a client, a manifest or an upstream names. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { digestOf } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { askRaw } from "../../support/raw.ts";

const manifestType = "application/vnd.oci.image.manifest.v1+json";

let hub: Hub;
/** A registry that works and has all that the other has, but is not configured. */
let stranger: Hub;
let hubcap: Hubcap;
let layer: string;
let otherLayer: string;

beforeAll(async () => {
  hub = await startHub({ auth: "none", limit: "unlimited" });
  stranger = await startHub({ auth: "none" });
  const image = await buildImage();
  for (const each of [hub, stranger]) {
    for (const tag of ["1", "2", "3"]) each.push(image, "library/app", tag);
  }
  const [first, second] = image.platforms.get("linux/amd64")?.layers ?? [];
  [layer, otherLayer] = [first?.digest ?? "", second?.digest ?? ""];
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
});

afterAll(async () => {
  await hubcap.dispose();
  await Promise.all([hub.stop(), stranger.stop()]);
});

afterEach(() => {
  hub.faults.clear();
  hub.counts.reset();
  // In no test may it be asked anything.
  const [request] = stranger.counts.requests;
  stranger.counts.reset();
  if (request) throw new Error(`the stranger was asked for ${request.path}`);
});

function errorOf({ status, body }: Reply): string {
  return `${status} ${/"code":"(?<code>[A-Z_]+)"/.exec(body.toString())?.groups?.["code"]}`;
}

/** Another digest for each success: what an upstream has said of one is remembered. */
function pull(digest = layer): Promise<Reply> {
  return ask(`${hubcap.url}/v2/library/app/blobs/${digest}`, { method: "HEAD" });
}

/** The hosts under which the stranger can be reached from here. */
function strangers(): string[] {
  return [`127.0.0.1:${stranger.registry.port}`, `localhost:${stranger.registry.port}`];
}

describe("redirects that are not followed", () => {
  test("S6: one too many, and one that leads back to itself", async () => {
    for (const action of [{ kind: "hops", count: 6 }, { kind: "loop" }] as const) {
      hub.counts.reset();
      const fault = hub.fault({ origin: "registry", asks: "blob", ...action });
      expect((await pull()).status).toBe(502);
      // Five are followed, and what has been seen is not asked again.
      const followed = action.kind === "hops" ? 5 : 1;
      expect(hub.counts.requests.filter(({ origin }) => origin === "cdn")).toHaveLength(followed);
      fault.remove();
    }
    hub.fault({ origin: "registry", asks: "blob", kind: "hops", count: 5 });
    expect((await pull(otherLayer)).status).toBe(200);
  });

  test("S6: one to an address with a password, to no address, and to no web server", async () => {
    const { port } = stranger.registry;
    const locations = [
      `http://user:pass@127.0.0.1:${port}/x`,
      `http://user@127.0.0.1:${port}/x`,
      `ftp://127.0.0.1:${port}/x`,
      "file:///etc/passwd",
      "data:,x",
      "http://[",
      "",
    ];
    for (const location of locations) {
      const fault = hub.fault({ asks: "blob", kind: "status", status: 307, headers: { location } });
      expect((await pull()).status).toBe(502);
      fault.remove();
    }
    expect((await pull()).status).toBe(200);
  });
});

async function expectUnknown(path: string, expected: readonly string[]): Promise<void> {
  const before = await hubcap.metric("hubcap_upstream_requests_total");
  const { status, text } = await askRaw(hubcap.url, path);
  expect(expected).toContain(`${status} ${/"code":"(?<code>[A-Z_]+)"/.exec(text)?.groups?.["code"]}`);
  // Not even a try that failed at its name.
  expect(await hubcap.metric("hubcap_upstream_requests_total")).toBe(before);
  expect(hub.counts.requests).toEqual([]);
}

describe("source hosts that are not configured", () => {
  test.each([
    ["evil.test", "404 NAME_UNKNOWN"],
    ["docker.io.evil.test", "404 NAME_UNKNOWN"],
    ["evil.test%2fdocker.io", "404 NAME_UNKNOWN"],
    ["docker.io@evil.test", "404 NAME_UNKNOWN"],
    ["docker.io%23.evil.test", "404 NAME_UNKNOWN"],
    ["docker.io:8443", "404 NAME_UNKNOWN"],
    ["169.254.169.254", "404 NAME_UNKNOWN"],
    ["../", "404 NAME_UNKNOWN"],
    ["", "404 NAME_UNKNOWN"],
    ["docker.io&ns=evil.test", "400 NAME_INVALID"],
    ["docker.io&ns=docker.io", "400 NAME_INVALID"],
  ])("S8: ns=%s is a word we do not know, not an address", async (ns, expected) => {
    await expectUnknown(`/v2/library/app/manifests/1?ns=${ns}`, [expected]);
    await expectUnknown(`/v2/library/app/blobs/${layer}?ns=${ns}`, [expected]);
    await expectUnknown(`/v2/library/app/tags/list?ns=${ns}`, [expected]);
  });

  test("S8: a registry that could be reached is not, in whatever form a client names it", async () => {
    for (const host of strangers()) {
      for (const path of [
        `/v2/library/app/manifests/1?ns=${host}`,
        `/v2/library/app/manifests/1?ns=${encodeURIComponent(`http://${host}`)}`,
        `/v2/${host}/library/app/manifests/1`,
        `/${host}/v2/library/app/manifests/1`,
        `http://${host}/v2/docker.io@${host}/manifests/1`,
      ]) {
        await expectUnknown(path, ["404 NAME_UNKNOWN", "400 NAME_INVALID"]);
      }
    }
  });

  test("S8: the Host header does not choose an upstream", async () => {
    const [host = ""] = strangers();
    const reply = await ask(`${hubcap.url}/v2/library/app/manifests/2`, { headers: { host } });
    expect(reply.status).toBe(200);
    expect(hub.counts.manifestGets.total).toBe(1);
  });
});

test("S9: addresses that a manifest names for its layers are not called", async () => {
  const missing = `sha256:${"7".repeat(64)}`;
  const urls = [`${stranger.url}/v2/library/app/blobs/${layer}`, "http://10.0.0.1/x"];
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestType,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: missing, size: 2 },
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: missing, size: 20, urls }],
    }),
  );
  const digest = digestOf(bytes);
  const root = { mediaType: manifestType, digest, size: bytes.length };
  const manifests = new Map([[digest, { mediaType: manifestType, bytes }]]);
  hub.push({ root, manifests, blobs: new Map() }, "foreign/layers", "1");
  const manifest = await ask(`${hubcap.url}/v2/foreign/layers/manifests/1`);
  expect(manifest.body.equals(bytes)).toBe(true);
  const blob = await ask(`${hubcap.url}/v2/foreign/layers/blobs/${missing}`);
  expect(errorOf(blob)).toBe("404 BLOB_UNKNOWN");
});

describe("links to a next page", () => {
  test.each([
    ["another host", () => `${stranger.url}/v2/library/app/tags/list?last=1`],
    ["a private address", () => "http://10.0.0.1/v2/library/app/tags/list?last=1"],
    ["another repository", () => "/v2/team/secret/tags/list?last=1"],
    ["another path", () => "/token?scope=repository:team/secret:pull"],
  ])("S10: one to %s is neither followed nor passed on", async (name, target) => {
    const repository = `pages/${name.replaceAll(" ", "-")}`;
    for (const tag of ["1", "2", "3"]) hub.push(await buildImage(), repository, tag);
    hub.push(await buildImage(), "team/secret", "secret");
    const link = `<${target()}>; rel="next"`;
    hub.fault({ asks: "tags", repository, kind: "headers", set: { link } });
    const all = await ask(`${hubcap.url}/v2/${repository}/tags/list`);
    expect([JSON.parse(all.body.toString()), all.headers["link"]]).toEqual([
      { name: repository, tags: ["1", "2", "3"] },
      undefined,
    ]);
    expect(hub.counts.requests.filter(({ kind }) => kind !== "ping")).toHaveLength(1);
    const page = await ask(`${hubcap.url}/v2/${repository}/tags/list?n=1`);
    const own = /^<(?<path>[^>]*)>; rel="next"$/.exec(String(page.headers["link"]))?.groups?.["path"] ?? "";
    expect(own).toBe(`/v2/docker.io/${repository}/tags/list?n=1&last=1`);
    const next = await ask(`${hubcap.url}${own}`);
    expect(JSON.parse(next.body.toString())).toEqual({ name: repository, tags: ["2"] });
  });

  test("S10: one that stays with its list is followed at our own address", async () => {
    hub.behaviour.pageSize = 2;
    for (const tag of ["1", "2", "3", "4", "5"]) hub.push(await buildImage(), "pages/honest", tag);
    const all = await ask(`${hubcap.url}/v2/pages/honest/tags/list`);
    expect(JSON.parse(all.body.toString())).toMatchObject({ tags: ["1", "2", "3", "4", "5"] });
  });
});
