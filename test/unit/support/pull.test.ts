/** The pulling clients send what real runtimes send, and believe nothing that they have not proven. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { startHub, type Hub } from "../../support/hub.ts";
import { buildImage, type Image } from "../../support/images.ts";
import { pullLikeContainerd, pullLikeDocker, pullLikePodman, type PullOptions } from "../../support/pull.ts";

let hub: Hub;
let image: Image;
let options: PullOptions;

beforeEach(async () => {
  hub = await startHub({ auth: "none", limit: "unlimited" });
  hub.behaviour.redirect = false;
  image = await buildImage({ layers: 4, attestations: true });
  hub.push(image, "library/app", "1");
  options = { mirror: hub.url, repository: "library/app", reference: "1", pause: () => Promise.resolve() };
});

afterEach(() => hub.stop());

function sent(): string[] {
  return hub.counts.requests.map(({ method, kind, reference }) =>
    [method, kind, ...(reference === undefined ? [] : [reference])].join(" "),
  );
}

it("pulls like containerd: HEAD by tag, then by digest, with ns and own headers", async () => {
  const result = await pullLikeContainerd({
    ...options,
    ns: "docker.io",
    headers: { "x-hubcap-node": "n1" },
  });
  const platform = image.platforms.get("linux/amd64");
  expect(result).toMatchObject({
    errors: [],
    root: image.root.digest,
    manifest: platform?.manifest.digest,
    imageId: platform?.config.digest,
    requests: 8,
  });
  expect(sent()).toEqual([
    "HEAD manifest 1",
    `GET manifest ${image.root.digest}`,
    `GET manifest ${platform?.manifest.digest}`,
    ...Array.from({ length: 5 }, () => "GET blob"),
  ]);
  expect(hub.counts.requests.every(({ path }) => path.endsWith("?ns=docker.io"))).toBe(true);
  expect(hub.counts.requests.every(({ headers }) => headers["x-hubcap-node"] === "n1")).toBe(true);
  expect(result.digests.toSorted()).toEqual(
    [
      image.root.digest,
      platform?.manifest.digest ?? "",
      platform?.config.digest ?? "",
      ...(platform?.layers ?? []).map(({ digest }) => digest),
    ].toSorted(),
  );
  const bytes = hub.counts.requests.reduce((sum, request) => sum + request.bytes, 0);
  expect(result.bytes).toBe(bytes);
});

it("pulls like podman: a ping and a GET by tag, six Accept lines, no HEAD", async () => {
  const result = await pullLikePodman({ ...options, platform: "linux/arm64" });
  expect(result.errors).toEqual([]);
  expect(result.imageId).toBe(image.platforms.get("linux/arm64")?.config.digest);
  expect(sent().slice(0, 2)).toEqual(["GET ping", "GET manifest 1"]);
  expect(hub.counts.manifestHeads.total).toBe(0);
});

it("pulls like docker: a ping, a HEAD, and a GET by tag when the HEAD fails", async () => {
  expect((await pullLikeDocker(options)).errors).toEqual([]);
  expect(sent().slice(0, 3)).toEqual(["GET ping", "HEAD manifest 1", `GET manifest ${image.root.digest}`]);
  hub.counts.reset();
  hub.fault({ method: "HEAD", kind: "status", status: 500 });
  expect((await pullLikeDocker(options)).errors).toEqual([]);
  expect(sent().slice(0, 3)).toEqual(["GET ping", "HEAD manifest 1", "GET manifest 1"]);
});

it("repeats a 429 at once, five requests in all, like containerd", async () => {
  hub.setLimit(0);
  const fault = hub.fault({ asks: "manifest", kind: "status", status: 429, headers: { "retry-after": "7" } });
  const result = await pullLikeContainerd(options);
  expect(result.errors).toEqual(["HEAD 1: 429"]);
  expect(fault.hits).toBe(5);
  expect(result.statuses).toEqual({ "429": 5 });
  expect(result.retryAfters).toHaveLength(5);
});

it("waits as long as the answer says before it repeats a 429, like podman", async () => {
  const pauses: number[] = [];
  const pause = async (seconds: number): Promise<void> => {
    pauses.push(seconds);
  };
  hub.fault({ asks: "manifest", kind: "status", status: 429, headers: { "retry-after": "90" }, times: 2 });
  expect((await pullLikePodman({ ...options, pause })).errors).toEqual([]);
  expect(pauses).toEqual([60, 60]);
});

it("notices wrong bytes, missing bytes and wrong manifests", async () => {
  const layer = image.platforms.get("linux/amd64")?.layers[2]?.digest ?? "";
  hub.fault({ digest: layer, kind: "flip", at: -1, times: 1 });
  expect((await pullLikeContainerd(options)).errors[0]).toContain(`expected ${layer}`);
  hub.fault({ digest: layer, kind: "truncate", after: 100, framing: "close", times: 1 });
  expect((await pullLikeContainerd(options)).errors[0]).toContain(`expected ${layer}`);
  hub.fault({ digest: layer, kind: "reset", after: 100, times: 1 });
  expect((await pullLikeContainerd(options)).errors).toEqual(["aborted"]);
  hub.fault({ method: "GET", asks: "manifest", kind: "body", body: "{}", times: 1 });
  expect((await pullLikeContainerd(options)).errors[0]).toContain(`expected ${image.root.digest}`);
  expect((await pullLikeContainerd({ ...options, platform: "linux/s390x" })).errors).toEqual([
    "no match for platform linux/s390x",
  ]);
  expect((await pullLikeContainerd(options)).errors).toEqual([]);
});

it("gives up on an answer that does not begin in time", async () => {
  hub.fault({ asks: "manifest", kind: "hang" });
  expect((await pullLikeContainerd({ ...options, headerTimeout: 50 })).errors).toEqual([
    "timeout awaiting response headers",
  ]);
});
