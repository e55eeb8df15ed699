/** What the registry says, header by header: every form of its URLs, ranges of blobs, pages of tags, and referrers. */
import { hash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, type AskOptions, type Reply } from "../support/ask.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildArtifact, buildImage, type Image } from "../support/images.ts";

const ociIndex = "application/vnd.oci.image.index.v1+json";

let hub: Hub;
let hubcap: Hubcap;

beforeAll(async () => {
  hub = await startHub();
  hubcap = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub), "ghcr.io": upstreamOf(hub) } },
  });
});
afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

const get = (path: string, options?: AskOptions): Promise<Reply> => ask(`${hubcap.url}${path}`, options);

/** A blob of an image that was pushed for it alone. */
async function pushBlob(repository: string, layerBytes: number): Promise<{ path: string; bytes: Buffer }> {
  const image = await buildImage({ seed: repository, layers: 1, layerBytes, platforms: ["linux/amd64"] });
  hub.push(image, repository, "1");
  const digest = image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";
  const content = image.blobs.get(digest);
  const pieces = (await content?.read(0, content.size).toArray()) ?? [];
  return { path: `/v2/${repository}/blobs/${digest}`, bytes: Buffer.concat(pieces as Buffer[]) };
}

describe("an image", () => {
  let image: Image;

  beforeAll(async () => {
    image = await buildImage({ seed: "forms", layers: 1 });
    hub.push(image, "library/forms", "1");
  });

  it.each([
    ["the default's", (rest: string) => `/v2/library/forms/${rest}`, undefined],
    ["Docker Hub's short", (rest: string) => `/v2/forms/${rest}`, undefined],
    ["by ns", (rest: string) => `/v2/library/forms/${rest}?ns=docker.io`, "docker.io"],
    ["by another name of Docker Hub", (rest: string) => `/v2/forms/${rest}?ns=index.docker.io`, "docker.io"],
    ["by ns and path", (rest: string) => `/v2/docker.io/forms/${rest}?ns=docker.io`, "docker.io"],
    ["after /v2", (rest: string) => `/v2/docker.io/library/forms/${rest}`, undefined],
    ["before /v2", (rest: string) => `/docker.io/v2/library/forms/${rest}`, undefined],
    ["of another upstream", (rest: string) => `/v2/library/forms/${rest}?ns=ghcr.io`, "ghcr.io"],
  ])("%s name tells the same of it, by GET and by HEAD", async (_, form, namespace) => {
    const { root } = image;
    const [layer] = image.platforms.get("linux/amd64")?.layers ?? [];
    for (const [rest, { digest, size, mediaType }] of [
      ["manifests/1", root],
      [`manifests/${root.digest}`, root],
      [`blobs/${layer?.digest}`, { ...layer, mediaType: "application/octet-stream" }],
    ] as const) {
      for (const method of ["HEAD", "GET", "HEAD"]) {
        const { status, headers, body } = await get(form(rest), { method });
        expect([rest, method, status, body.length]).toEqual([rest, method, 200, method === "GET" ? size : 0]);
        expect(headers).toMatchObject({
          "content-type": mediaType,
          "content-length": String(size),
          "docker-content-digest": digest,
          "docker-distribution-api-version": "registry/2.0",
        });
        expect(headers["oci-namespace"]).toBe(namespace);
        expect(headers["www-authenticate"]).toBeUndefined();
      }
    }
    const absent = await get(form("manifests/2"));
    expect([absent.status, absent.headers["oci-namespace"]]).toEqual([404, namespace]);
  });
});

/** A part of a blob as `subarray` takes it, all of it, or one that does not exist. */
type Part = readonly [start: number, end?: number] | "whole" | "nothing";

function answerWith(part: Part, bytes: Buffer) {
  const size = bytes.length;
  if (part === "nothing") return { status: 416, range: `bytes */${size}` };
  if (part === "whole") return { status: 200, length: String(size), sha256: hash("sha256", bytes) };
  const [start, end = size] = part;
  const first = start < 0 ? size + start : start;
  return {
    status: 206,
    range: `bytes ${first}-${end - 1}/${size}`,
    length: String(end - first),
    sha256: hash("sha256", bytes.subarray(start, end)),
  };
}

function partIn({ status, headers, body }: Reply) {
  const { "content-range": range, "content-length": length } = headers;
  if (status === 416) return { status, range };
  return { status, ...(range !== undefined && { range }), length, sha256: hash("sha256", body) };
}

describe("a range of a blob", () => {
  const rows: readonly [range: string, part: Part, when?: "early"][] = [
    ["bytes=0-", [0]],
    ["bytes=100-199", [100, 200], "early"],
    ["bytes=5000-", [5000]],
    ["bytes=-77", [-77]],
    ["bytes=0-99999999999", [0]],
    // Clients that ask for several would take the first for all of them.
    ["bytes=0-9,100-199", "whole"],
    ["bytes=9-1", "whole"],
    ["items=0-9", "whole"],
    ["bytes=99999999999-", "nothing", "early"],
  ];

  it.for(rows)("%s is answered from disk and while the blob comes in", async ([range, part, when]) => {
    const { path, bytes } = await pushBlob(`ranges/of-${hash("md5", range)}`, 400_000);
    const coming = hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 200_000, times: 1 });
    const all = get(path);
    await coming.held();
    const early = get(path, { headers: { range } });
    // What is there already, or will never be, is not waited for.
    if (when === "early") await early;
    coming.release();
    expect(partIn(await early)).toEqual(answerWith(part, bytes));
    expect((await all).body.equals(bytes)).toBe(true);
    await expect.poll(() => hubcap.metric("hubcap_fills_running")).toBe(0);
    expect(partIn(await get(path, { headers: { range } }))).toEqual(answerWith(part, bytes));
    expect(hub.counts.cdnGets.byDigest[path.split("/").at(-1) ?? ""]).toBe(1);
  });
});

/** Follows a list from page to page. */
async function walk(path: string): Promise<{ pages: string[][]; links: string[] }> {
  const pages: string[][] = [];
  const links: string[] = [];
  for (let next: string | undefined = path; next !== undefined;) {
    const { status, headers, body } = await get(next);
    expect(status).toBe(200);
    const { name, tags } = JSON.parse(body.toString()) as { name: string; tags: string[] };
    expect(name).toBe("pages/app");
    pages.push(tags);
    next = /^<(?<next>[^>]+)>; rel="next"$/.exec(String(headers["link"]))?.groups?.["next"];
    if (next !== undefined) links.push(next);
  }
  return { pages, links };
}

describe("tags", () => {
  beforeAll(async () => {
    for (const tag of ["b", "a", "10", "9", "B"]) hub.push(await buildImage(), "pages/app", tag);
  });

  it.each([
    ["", [["10", "9", "B", "a", "b"]]],
    ["n=2", [["10", "9"], ["B", "a"], ["b"]]],
    ["n=5", [["10", "9", "B", "a", "b"]]],
    ["n=100", [["10", "9", "B", "a", "b"]]],
    ["n=0", [[]]],
    ["n=2&last=9", [["B", "a"], ["b"]]],
    // It need not exist.
    ["last=C", [["a", "b"]]],
    ["n=1&last=b", [[]]],
  ])("come in order, in pages that lead to each other: %s", async (query, expected) => {
    for (const form of ["/v2/pages/app", "/v2/docker.io/pages/app", "/docker.io/v2/pages/app"]) {
      expect((await walk(`${form}/tags/list?${query}`)).pages).toEqual(expected);
    }
    const { pages, links } = await walk(`/v2/pages/app/tags/list?${query}&ns=ghcr.io`);
    expect(pages).toEqual(expected);
    for (const link of links) expect(link).toContain("ns=ghcr.io");
  });

  it("of a repository that is not there are not found", async () => {
    hub.fault({ asks: "tags", repository: "pages/none", kind: "status", status: 404 });
    hub.push(await buildImage(), "pages/none");
    expect((await get("/v2/pages/none/tags/list")).status).toBe(404);
  });
});

describe("referrers", () => {
  const signature = "application/vnd.example.signature";
  const sbom = "application/vnd.example.sbom+json";

  describe.each([true, false])("of an upstream whose API for them is there: %s", (hasApi) => {
    const repository = hasApi ? "referrers/api" : "referrers/tags";
    let image: Image;

    beforeAll(async () => {
      hub.behaviour.referrers = hasApi;
      image = await buildImage({ seed: repository });
      hub.push(image, repository, "1");
      for (const artifactType of [signature, sbom, signature]) {
        const seed = `${artifactType} ${Math.random()}`;
        hub.push(buildArtifact({ artifactType, subject: image.root, payload: seed }), repository);
      }
    });
    afterAll(() => {
      hub.behaviour.referrers = true;
    });

    async function list(path: string): Promise<{ types: unknown[]; filters: unknown }> {
      const { status, headers, body } = await get(`/v2/${repository}/referrers/${path}`);
      const index = JSON.parse(body.toString()) as { manifests: { artifactType: string }[] };
      expect([status, headers["content-type"]]).toEqual([200, ociIndex]);
      expect(index).toMatchObject({ schemaVersion: 2, mediaType: ociIndex });
      const types = index.manifests.map(({ artifactType }) => artifactType).toSorted();
      return { types, filters: headers["oci-filters-applied"] };
    }

    it("are listed, and filtered when a client asks for a type", async () => {
      const { digest } = image.root;
      const all = { types: [sbom, signature, signature], filters: undefined };
      expect(await list(digest)).toEqual(all);
      for (const [type, types] of [
        [signature, [signature, signature]],
        [sbom, [sbom]],
        ["application/vnd.example.none", []],
      ] as const) {
        expect(await list(`${digest}?artifactType=${type}`)).toEqual({ types, filters: "artifactType" });
      }
    });

    it("of what is not there are none, and that is no error", async () => {
      expect(await list(`sha256:${"0".repeat(64)}`)).toEqual({ types: [], filters: undefined });
    });
  });
});
