import { describe, expect, test } from "vitest";
import { ociIndex, ociManifest } from "../../../src/oci/descriptor.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { asked, manifest, nginx, reply, replyManifest, serve, upstream, type Handler } from "./server.ts";

const path = "/v2/library/nginx/tags/list";
const subject = digestOf(Buffer.from("subject"));

/** A registry whose lists `handler` answers. */
async function registryThat(handler: (query: URLSearchParams, ...rest: Parameters<Handler>) => void) {
  const server = await serve((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://x");
    if (pathname === "/v2/") reply(response, 200);
    else handler(searchParams, request, response);
  });
  const lists = (): string[] => server.asked.filter((line) => line !== "GET /v2/");
  return { server, lists, ...upstream(server.url) };
}

const tags = (names: unknown): string => JSON.stringify({ name: "library/nginx", tags: names });

describe("listTags", () => {
  test("all pages, without what is no tag", async () => {
    const { registry, lists, bucket } = await registryThat((query, _, response) =>
      query.get("last") === "b"
        ? reply(response, 200, {}, tags(["c", "b", 7, "not a tag", "../x"]))
        : reply(response, 200, { link: `<${path}?n=1000&last=b>; rel="next"` }, tags(["a", "b"])),
    );
    expect(await registry.listTags(nginx, asked)).toEqual(["a", "b", "c"]);
    expect(lists()).toEqual([`GET ${path}?n=1000`, `GET ${path}?n=1000&last=b`]);
    expect(bucket.kinds).toEqual(["ping", "tags", "tags"]);
  });

  test.each([
    ["an absolute link to itself", (url: string) => `<${url}${path}?last=b>; rel="next"`, 2],
    ["S10: another host", () => `<http://10.0.0.1${path}?last=b>; rel="next"`, 1],
    ["S10: another scheme", () => `<https://127.0.0.1${path}?last=b>; rel="next"`, 1],
    ["S10: another repository", () => `</v2/library/secret/tags/list?last=b>; rel="next"`, 1],
    ["S10: another path", () => `</api/admin?last=b>; rel="next"`, 1],
    ["the same page again", () => `<${path}?n=1000>; rel="next"`, 1],
  ])("%s", async (_, link, requests) => {
    let url = "";
    const { registry, lists, server } = await registryThat((query, _, response) =>
      reply(response, 200, query.has("last") ? {} : { link: link(url) }, tags(["a"])),
    );
    url = server.url;
    expect(await registry.listTags(nginx, asked)).toEqual(["a"]);
    expect(lists()).toHaveLength(requests);
  });

  test("an endless list ends", async () => {
    let page = 0;
    const { registry, lists } = await registryThat((_, __, response) => {
      page += 1;
      reply(response, 200, { link: `<${path}?last=${page}>; rel="next"` }, tags([`t${page}`]));
    });
    expect(await registry.listTags(nginx, asked)).toHaveLength(200);
    expect(lists()).toHaveLength(200);
  });

  test("a list that is answered elsewhere is continued through the registry", async () => {
    const elsewhere = await serve((request, response) =>
      request.url?.includes("last=b")
        ? reply(response, 200, {}, tags(["c"]))
        : reply(response, 200, { link: `</v2/k8s/images/nginx/tags/list?last=b>; rel="next"` }, tags(["a"])),
    );
    const { registry, lists } = await registryThat((query, _, response) =>
      reply(response, 307, {
        location: `${elsewhere.url}/v2/k8s/images/nginx/tags/list?${query.toString()}`,
      }),
    );
    expect(await registry.listTags(nginx, asked)).toEqual(["a", "c"]);
    expect(lists()).toHaveLength(2);
  });

  test.each([
    ["null, Go's empty list", tags(null), []],
    ["nothing", tags([]), []],
  ])("%s", async (_, body, expected) => {
    const { registry } = await registryThat((_, __, response) => reply(response, 200, {}, body));
    expect(await registry.listTags(nginx, asked)).toEqual(expected);
  });

  test.each(["<html>", "7", "null", "{}", tags("a")])("%s is no list", async (body) => {
    const { registry } = await registryThat((_, __, response) => reply(response, 200, {}, body));
    await expect(registry.listTags(nginx, asked)).rejects.toMatchObject({ kind: "corrupt" });
  });

  test("an unknown repository is absent", async () => {
    const { registry } = await registryThat((_, __, response) => reply(response, 404));
    await expect(registry.listTags(nginx, asked)).rejects.toMatchObject({ kind: "absent" });
  });
});

describe("referrers", () => {
  const descriptor = {
    mediaType: ociManifest,
    digest: digestOf(Buffer.from("signature")),
    size: 9,
    artifactType: "application/vnd.example.signature",
    annotations: { by: "me" },
  };
  const index = JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: [descriptor] });
  const type = { "content-type": ociIndex };

  test("all pages of the API", async () => {
    const other = { ...descriptor, digest: digestOf(Buffer.from("sbom")) };
    const { registry, lists } = await registryThat((query, _, response) =>
      query.has("page")
        ? reply(
            response,
            200,
            type,
            JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: [other, descriptor] }),
          )
        : reply(response, 200, { ...type, link: `<?page=2>; rel="next"` }, index),
    );
    expect(await registry.referrers(nginx, subject, asked)).toEqual([descriptor, other]);
    expect(lists()[0]).toBe(`GET /v2/library/nginx/referrers/${subject}`);
  });

  test.each([404, 405, 501])(
    "without the API (%i) the tag is read, and a HEAD comes before a pull",
    async (status) => {
      const { registry, lists, bucket } = await registryThat((_, request, response) => {
        if (request.url?.includes("/referrers/")) return reply(response, status);
        return reply(
          response,
          200,
          { ...type, "docker-content-digest": digestOf(Buffer.from(index)) },
          index,
        );
      });
      expect(await registry.referrers(nginx, subject, asked)).toEqual([descriptor]);
      expect(lists()[1]).toBe(`HEAD /v2/library/nginx/manifests/${subject.replace(":", "-")}`);
      expect(bucket.kinds).toEqual(["ping", "referrers", "manifest-head", "manifest-get"]);
      expect(registry.health.failures).toBe(0);
    },
  );

  test("without the tag there are none, and no pull is spent", async () => {
    const { registry, bucket } = await registryThat((_, __, response) => reply(response, 404));
    expect(await registry.referrers(nginx, subject, asked)).toEqual([]);
    expect(bucket.kinds).toEqual(["ping", "referrers", "manifest-head"]);
  });

  test("a tag that is no index names none", async () => {
    const { registry } = await registryThat((_, request, response) =>
      request.url?.includes("/referrers/") ? reply(response, 404) : replyManifest(response),
    );
    expect(manifest.length).toBeGreaterThan(0);
    expect(await registry.referrers(nginx, subject, asked)).toEqual([]);
  });

  test("a sha512 subject's tag is cut to what a tag may be", async () => {
    const { registry, lists } = await registryThat((_, __, response) => reply(response, 404));
    const long = digestOf(Buffer.from("subject"), "sha512");
    await registry.referrers(nginx, long, asked);
    expect(lists()[1]).toBe(`HEAD /v2/library/nginx/manifests/sha512-${long.slice(7, 71)}`);
  });

  test.each([
    ["an HTML page", { "content-type": "text/html" }, "<html>"],
    ["a negative size", type, index.replace(`"size":9`, `"size":-9`)],
    ["a digest that is none", type, index.replace(descriptor.digest, "sha256:x")],
  ])("%s is not believed", async (_, headers, body) => {
    const { registry } = await registryThat((_, __, response) => reply(response, 200, headers, body));
    await expect(registry.referrers(nginx, subject, asked)).rejects.toMatchObject({ kind: "corrupt" });
  });
});
