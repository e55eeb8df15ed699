/** The cache's routes: what they take, who may change something, and what a thousand images look like. */
import { expect, test } from "vitest";
import { Secret } from "../../../src/config/secret.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { openApiSetup } from "./apiServer.ts";

const token = "sesame-7d1f";
const headers = { Authorization: `Bearer ${token}` };
const pattern = "image=docker.io/library/nginx";
const badPattern = expect.stringMatching(/^image must be an image with its source host, such as /) as string;
const badCount = "n must be a whole number from 1 to 1000";

const changes = [
  ["DELETE", `/cache/images?${pattern}`],
  ["POST", "/cache/evict"],
  ["PUT", `/cache/pins?${pattern}`],
  ["DELETE", `/cache/pins?${pattern}`],
] as const;

test("what is unknown of an empty cache is null", async () => {
  const { get } = await openApiSetup();
  expect(await get("/cache")).toEqual({
    status: 200,
    body: { bytes: 0, capacity: 1000, blobs: 0, manifests: 0, hitRatio: null, oldestUseAt: null },
  });
  expect(await get("/cache/images")).toEqual({ status: 200, body: { images: [] } });
});

test.each(changes)("%s %s needs the token before anything of it is read", async (method, path) => {
  const closed = await openApiSetup();
  expect(await closed.get(path, { method, headers })).toEqual({
    status: 404,
    body: { error: "changing calls are off: name a file with a token in admin.tokenFile" },
  });
  const touched: string[] = [];
  const { get } = await openApiSetup(new Secret(token), {
    evict: async () => void touched.push("evict"),
    remove: async () => void touched.push("remove"),
  });
  for (const wrong of [{}, { Authorization: "Bearer sesame" }]) {
    expect(
      await get(`${path}${path.includes("?") ? "&" : "?"}nonsense=1`, { method, headers: wrong }),
    ).toEqual({
      status: 401,
      body: { error: "this call needs the admin token, as Authorization: Bearer TOKEN" },
    });
  }
  expect(touched).toEqual([]);
  expect(await get("/cache/pins")).toMatchObject({ body: { pins: [{ origin: "configuration" }] } });
});

test.each([
  ["GET", "/cache/images?n=0", badCount],
  ["GET", "/cache/images?n=1001", badCount],
  ["GET", "/cache/images?n=1.5", badCount],
  ["GET", "/cache/images?n=1&n=2", badCount],
  ["GET", "/cache/images?last=nginx", "last must be the end of the page before"],
  ["GET", "/cache/images?first=nginx", 'nothing is called "first" here'],
  ["DELETE", "/cache/images", badPattern],
  ["DELETE", "/cache/images?image=nginx", badPattern],
  ["DELETE", `/cache/images?${pattern}&${pattern}`, badPattern],
  ["DELETE", `/cache/images?${pattern}&dryRun=yes`, "dryRun must be true or false"],
  ["DELETE", `/cache/images?${pattern}&dryrun=true`, 'nothing is called "dryrun" here'],
  ["POST", "/cache/evict?dryRun=1", "dryRun must be true or false"],
  ["PUT", "/cache/pins?image=", badPattern],
  ["DELETE", "/cache/pins", badPattern],
])("%s %s is refused with one sentence, and nothing is done", async (method, path, error) => {
  const touched: string[] = [];
  const { get } = await openApiSetup(new Secret(token), {
    evict: async () => void touched.push("evict"),
    remove: async () => void touched.push("remove"),
  });
  expect(await get(path, { method, headers })).toEqual({ status: 400, body: { error } });
  expect(touched).toEqual([]);
});

test("a pin of the configuration stays, and one that is not there cannot go", async () => {
  const { get } = await openApiSetup(new Secret(token));
  const remove = (image: string) => get(`/cache/pins?image=${image}`, { method: "DELETE", headers });
  expect(await remove("docker.io/library/redis")).toEqual({
    status: 409,
    body: { error: "docker.io/library/redis is pinned by the configuration: take it out there" },
  });
  expect(await remove("docker.io/library/nginx")).toEqual({
    status: 404,
    body: { error: "there is no pin docker.io/library/nginx" },
  });
});

const held = { mediaType: "application/json", size: 1, heldAt: 0, usedAt: 0, uses: 0 } as const;

test("of many images that are evicted, all are counted and a thousand are named", async () => {
  const repository = { upstream: "docker.io", name: "library/nginx" as never };
  const { get } = await openApiSetup(new Secret(token), {
    evict: async (each, rehearse) => {
      expect(rehearse).toBe(true);
      for (let number = 0; number < 1001; number += 1) {
        const image = { ...held, repository, digest: digestOf(Buffer.from(`${number}`)) };
        each({ image, tags: [], reason: "age", bytes: 2 });
      }
    },
  });
  const { status, body } = await get("/cache/evict?dryRun=true", { method: "POST", headers });
  expect(status).toBe(200);
  expect(body).toMatchObject({ dryRun: true, count: 1001, bytes: 2002 });
  expect((body as { images: unknown[] }).images).toHaveLength(1000);
});

test("a page that ends with an image that was found on disk and belongs to no repository yet is followed by the next", async () => {
  const places = ["(found)/(found)", "docker.io/library/nginx"].map((text) => {
    const [upstream = "", ...name] = text.split("/");
    return { upstream, name: name.join("/") as never };
  });
  const digest = digestOf(Buffer.from("image"));
  const images = places.map((repository) => ({
    ...held,
    repository,
    digest,
    tags: [],
    bytes: 1,
    pinned: false,
  }));
  const { api } = await openApiSetup(new Secret(token), {
    images: async function* (after) {
      const at = images.findIndex(({ repository }) => repository.upstream === after?.repository.upstream);
      yield* images.slice(at + 1);
    },
  });
  const seen: string[] = [];
  for (let path: string | undefined = "/cache/images?n=1"; path !== undefined;) {
    const answer: Response = await api.request(path);
    expect(answer.status).toBe(200);
    const body = (await answer.json()) as { images: { repository: string }[] };
    seen.push(...body.images.map(({ repository }) => repository));
    path = /<\/api\/v1(.+)>/.exec(answer.headers.get("Link") ?? "")?.[1];
  }
  expect(seen).toEqual(["(found)/(found)", "docker.io/library/nginx"]);
});
