/** Fetching ahead, by the API of a real Hubcap: only what is asked for, from what pulls leave, and as if it had been pulled. */
import { once } from "node:events";
import { request } from "node:http";
import { expect, test } from "vitest";
import { ask } from "../support/ask.ts";
import type { Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { OpenApiChecker } from "../support/openapi.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { adminToken, openWarmSetup, until, type WarmJob } from "../support/warm.ts";

const token = adminToken;

async function call(hubcap: Hubcap, method: string, path: string, body?: unknown) {
  const reply = await ask(`${hubcap.statusUrl}/api/v1/warm${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { reply, status: reply.status, body: JSON.parse(reply.body.toString()) as WarmJob };
}

/** Orders, and waits until the job has ended. */
async function warm(hubcap: Hubcap, images: readonly string[], more: object = {}): Promise<WarmJob> {
  const { status, body } = await call(hubcap, "POST", "", { images, ...more });
  expect(status).toBe(202);
  return until(hubcap, body.id, ({ state }) => state === "done");
}

function pull(hubcap: Hubcap, repository: string, platform = "linux/amd64") {
  return pullLikeContainerd({
    mirror: hubcap.url,
    ns: "docker.io",
    repository,
    reference: "1",
    platform,
    attempts: 1,
  });
}

test("only the platforms that are asked for are fetched, and only they are counted", async () => {
  const { hub, hubcap, image } = await openWarmSetup();
  const job = await warm(hubcap, ["docker.io/library/web:1"], {
    platforms: ["linux/amd64", "linux/arm64/v8"],
  });
  expect(job).toMatchObject({ state: "done", total: 1, held: 1, failed: 0, left: 0 });
  // The index and two platforms.
  expect(hub.spent()).toBe(3);
  const wanted = ["linux/amd64", "linux/arm64"].map((name) => image.platforms.get(name));
  const blobs = wanted.flatMap((each) =>
    each ? [each.config.digest, ...each.layers.map((l) => l.digest)] : [],
  );
  const sent = hub.counts.requests.filter(({ origin }) => origin === "cdn").map(({ digest }) => digest);
  expect(new Set(sent)).toEqual(new Set(blobs));
  expect(job.bytes).toBe(job.totalBytes);
  expect(await hubcap.metric("hubcap_warm_bytes_total")).toBe(job.bytes);

  const asked = hub.counts.requests.length;
  for (const platform of ["linux/amd64", "linux/arm64"]) {
    expect((await pull(hubcap, "library/web", platform)).errors).toEqual([]);
  }
  expect(hub.counts.requests.length).toBe(asked);
  const spend = (await hubcap.status("/api/v1/quota/spend?by=reason")) as { rows: object[] };
  expect(spend.rows).toEqual([expect.objectContaining({ key: "warm", spent: 3, refused: 0 })]);
  expect(await hubcap.metric("hubcap_warm_images_total", { result: "held" })).toBe(1);
  // To be warmed is to be used.
  const { images } = (await hubcap.status("/api/v1/cache/images")) as { images: { usedAt: string }[] };
  expect(Date.now() - Date.parse(images[0]?.usedAt ?? "")).toBeLessThan(60_000);
});

test("without platforms the setting holds, a single image is fetched whatever it is for, and again costs nothing", async () => {
  const { hub, hubcap, image } = await openWarmSetup({}, { warm: { platforms: ["linux/arm/v7"] } });
  const single = image.platforms.get("linux/amd64")?.manifest.digest ?? "";
  const images = ["web:1", `docker.io/library/web@${single}`, "web:1"];
  expect(await warm(hubcap, images)).toMatchObject({ total: 2, held: 2, platforms: ["linux/arm/v7"] });
  expect(hub.spent()).toBe(3);
  expect(await warm(hubcap, images)).toMatchObject({ held: 2, totalBytes: 0 });
  expect(hub.spent()).toBe(3);
});

test("an image that lacks a platform fails with a sentence, and the others are held all the same", async () => {
  const { hubcap } = await openWarmSetup();
  const job = await warm(hubcap, ["web:1", "web:2"], { platforms: ["linux/amd64", "linux/s390x"] });
  expect(job.images).toMatchObject([
    {
      image: "docker.io/library/web:1",
      state: "failed",
      error: "it is not there for linux/s390x; there is linux/amd64, linux/arm64, linux/arm/v7",
    },
    { image: "docker.io/library/web:2", state: "failed", retryAt: null },
  ]);
  expect((await pull(hubcap, "library/web")).errors).toEqual([]);
  expect(await hubcap.metric("hubcap_warm_images_total", { result: "failed" })).toBe(2);
});

test("warming stops where saving begins, says what is left, and pulls go on from the rest", async () => {
  // 10 pulls, of which 3 are kept from warming: 7 can be spent, 2 by each image, so that the seventh brings none whole.
  const { hub, hubcap } = await openWarmSetup({ limit: 10 }, { warm: { concurrency: 1 } });
  const names = ["a", "b", "c", "d", "e"].map((name) => `library/${name}`);
  for (const name of names) hub.push(await buildImage({ seed: name }), name, "1");
  const job = await warm(
    hubcap,
    names.map((name) => `${name}:1`),
  );
  expect(job).toMatchObject({ total: 5, held: 3, failed: 0, left: 2 });
  expect(job.images.map(({ state }) => state)).toEqual(["held", "held", "held", "waiting", "waiting"]);
  expect(job.images[3]?.error).toMatch(
    /^docker\.io, .* has 4 of 10 pulls .* left, but 3 are kept for images that clients wait for, and this one takes 2; /,
  );
  expect(Date.parse(job.images[4]?.retryAt ?? "")).toBeGreaterThan(Date.now());
  expect(hub.spent()).toBe(6);
  expect((await pull(hubcap, "library/e")).errors).toEqual([]);
  expect(hub.spent()).toBe(8);
  expect(await hubcap.metric("hubcap_warm_images_total", { result: "left" })).toBe(2);
  // One got the answer; the other did not ask again.
  expect(await hubcap.metric("hubcap_quota_refused_total", { reason: "warm" })).toBe(1);
});

test("a job that waits goes on by itself when there is quota again, over a restart too", async () => {
  const { hub, hubcap } = await openWarmSetup({ limit: 4 }, { warm: { concurrency: 1 } });
  hub.push(await buildImage({ seed: "b" }), "library/b", "1");
  const { body } = await call(hubcap, "POST", "", { images: ["web:1", "b:1"], wait: true });
  const waiting = await until(hubcap, body.id, ({ state }) => state === "waiting");
  expect(waiting).toMatchObject({ held: 1, left: 1 });
  expect(waiting.goOnAt).not.toBeNull();
  await hubcap.restart();
  await until(hubcap, body.id, ({ state }) => state === "waiting");
  hub.setLimit(100);
  // The answer to any HEAD brings the news.
  hub.push(await buildImage({ seed: "c" }), "library/c", "1");
  await ask(`${hubcap.url}/v2/library/c/manifests/1?ns=docker.io`, { method: "HEAD" });
  expect(await until(hubcap, body.id, ({ state }) => state === "done")).toMatchObject({ held: 2, left: 0 });
  expect(hub.spent()).toBe(4);
});

test("a client that wants what is being warmed gets it at once, at a pull's right, and it is spent once", async () => {
  const { hub, hubcap } = await openWarmSetup(
    {},
    { warm: { concurrency: 8 } },
    { quota: { concurrency: 1 } },
  );
  const names = ["a", "b", "c", "d"].map((name) => `library/${name}`);
  for (const name of names) hub.push(await buildImage({ seed: name }), name, "1");
  // One request at a time, and the first hangs: all else of the job stands in line.
  const hang = hub.fault({ kind: "hang", repository: "library/a", asks: "manifest" });
  const { body } = await call(hubcap, "POST", "", { images: names.map((name) => `${name}:1`) });
  await hang.held();
  await expect.poll(async () => (await snapshot(hubcap)).waiting).toBe(3);
  const head = request(`${hubcap.url}/v2/library/d/manifests/1?ns=docker.io`, { method: "HEAD" }).end();
  const answered = once(head, "response");
  await once(head, "finish");
  // What was sent before these were asked is read before they are answered.
  for (let turn = 0; turn < 5; turn += 1) await snapshot(hubcap);
  hang.release();
  await answered;
  expect((await pull(hubcap, "library/d")).errors).toEqual([]);
  const asked = hub.counts.requests
    .filter(({ kind }) => kind === "manifest")
    .map(({ repository }) => repository);
  expect(asked.slice(0, 2)).toEqual(["library/a", "library/d"]);
  await until(hubcap, body.id, ({ state }) => state === "done");
  expect(hub.spent()).toBe(8);
});

test("an upstream that fails costs only the images that were asked of it then", async () => {
  const { hub, hubcap } = await openWarmSetup({}, { warm: { concurrency: 1 } });
  hub.push(await buildImage({ seed: "b" }), "library/b", "1");
  hub.fault({ kind: "status", status: 500, repository: "library/web" });
  const job = await warm(hubcap, ["web:1", "b:1"]);
  expect(job.images).toMatchObject([{ state: "failed" }, { state: "held", error: null }]);
  expect(job.images[0]?.error).toMatch(/500/);
});

test("nothing is evicted for what no client has asked for", async () => {
  const { hub, hubcap } = await openWarmSetup({}, { storage: { capacity: "100kB", minFree: "0B" } });
  hub.push(await buildImage({ seed: "large", layers: 2, layerBytes: 60_000 }), "library/large", "1");
  expect((await pull(hubcap, "library/web")).errors).toEqual([]);
  const job = await warm(hubcap, ["large:1"]);
  expect(job.images).toMatchObject([
    { state: "failed", error: expect.stringMatching(/high-water mark/) as string },
  ]);
  expect(await hubcap.metric("hubcap_cache_evicted_bytes_total")).toBe(0);
});

test("a job can be cancelled, and all answers are as the document says", async () => {
  const { hub, hubcap } = await openWarmSetup();
  const document = await OpenApiChecker.of(hubcap.statusUrl);
  hub.fault({ kind: "hang", asks: "manifest" });
  const submitted = await call(hubcap, "POST", "", { images: ["web:1"] });
  const { id } = submitted.body;
  const cancelled = await call(hubcap, "DELETE", `/${id}`);
  expect(cancelled.body).toMatchObject({ state: "cancelled", left: 1, images: [{ state: "cancelled" }] });
  const answers = [
    ["POST", "", submitted],
    ["DELETE", `/${id}`, cancelled],
    ["GET", `/${id}`, await call(hubcap, "GET", `/${id}`)],
    ["GET", "", await call(hubcap, "GET", "")],
    ["GET", "/nothing", await call(hubcap, "GET", "/nothing")],
    ["POST", "", await call(hubcap, "POST", "", { images: ["web:1", "no such", "example.com/a/b"] })],
  ] as const;
  for (const [method, path, { reply }] of answers) {
    expect(document.flawsIn(method, `${hubcap.statusUrl}/api/v1/warm${path}`, reply)).toEqual([]);
  }
  expect(answers[5][2].body).toMatchObject({
    images: [
      { image: "no such" },
      { image: "example.com/a/b", error: expect.stringMatching(/not served here/) as string },
    ],
  });
  expect(hub.spent()).toBe(0);
});

test("the configuration's lists are fetched at the start, and those with a pin stay", async () => {
  const { hubcap } = await openWarmSetup(
    {},
    { warm: { lists: [{ images: ["web:1"], platforms: ["linux/amd64"], onStart: true, pin: true }] } },
  );
  await hubcap.logged(({ msg }) => msg === "warmed");
  expect(await hubcap.status("/api/v1/cache/images")).toMatchObject({
    images: [{ repository: "docker.io/library/web", pinned: true }],
  });
  expect(await hubcap.status("/api/v1/warm")).toMatchObject({ jobs: [{ origin: "configuration", held: 1 }] });
});

async function snapshot(hubcap: Hubcap): Promise<{ waiting: number }> {
  const { upstreams } = (await hubcap.status("/api/v1/quota")) as { upstreams: { waiting: number }[] };
  return upstreams[0] ?? { waiting: 0 };
}
