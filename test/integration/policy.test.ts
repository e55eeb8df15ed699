/** What may be pulled: rules by name, age, size and platform, on every way to an image; and tags that never move. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { ask, errorOf, openReply, type AskOptions } from "../support/ask.ts";
import { MovableClock } from "../support/clock.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap, type HubcapOptions } from "../support/hubcap.ts";
import { buildArtifact, buildImage, type Image, type ImageOptions } from "../support/images.ts";
import { pullLikeContainerd } from "../support/pull.ts";

const repository = "team/app";

let hub: Hub;
let hubcap: Hubcap | undefined;

beforeEach(async () => {
  hub = await startHub();
});
afterEach(async () => {
  await hubcap?.dispose();
  hubcap = undefined;
  await hub.stop();
});

async function open(
  policy: object,
  more: object = {},
  start: HubcapOptions = { inProcess: true },
): Promise<Hubcap> {
  const config = { upstreams: { "docker.io": upstreamOf(hub) }, policy, ...more };
  hubcap = await startHubcap({ config, ...start });
  return hubcap;
}

async function push(options: ImageOptions = {}, tag = "1", to = repository): Promise<Image> {
  const image = await buildImage({ seed: `policy ${tag}`, ...options });
  hub.push(image, to, tag);
  return image;
}

async function get(path: string, options: AskOptions = {}) {
  const reply = await ask(`${hubcap?.url}/v2/${path}`, options);
  return { status: reply.status, ...errorOf(reply) };
}

function pull(reference: string) {
  return pullLikeContainerd({ mirror: hubcap?.url ?? "", ns: "docker.io", repository, reference });
}

const manifest = (reference: string, name = repository): string => `${name}/manifests/${reference}`;
const blob = (digest: string, name = repository): string => `${name}/blobs/${digest}`;
const child = (image: Image, platform = "linux/amd64") => {
  const found = image.platforms.get(platform);
  if (!found) throw new Error(`no ${platform}`);
  const [layer] = found.layers;
  return { digest: found.manifest.digest, config: found.config.digest, layer: layer?.digest ?? "" };
};

/** The digest that Hubcap gives for a reference. */
async function digestOf(reference: string, method = "GET"): Promise<string | undefined> {
  const { status, headers } = await ask(`${hubcap?.url}/v2/${manifest(reference)}`, { method });
  return status === 200 ? String(headers["docker-content-digest"]) : undefined;
}

describe("a rule by name", () => {
  it("refuses a repository on every way to it before anything is asked, held or not (S14)", async () => {
    const image = await push();
    const { digest, layer } = child(image);
    const setup = await open({});
    expect((await get(manifest("1"))).status).toBe(200);
    expect((await get(manifest(digest))).status).toBe(200);
    expect((await get(blob(layer))).status).toBe(200);
    await setup.restart({
      upstreams: { "docker.io": upstreamOf(hub) },
      policy: { rules: [{ match: ["docker.io/team/**"], pull: "deny" }] },
    });
    hub.counts.reset();
    const ways = [
      manifest("1"),
      manifest(digest),
      blob(layer),
      `${repository}/tags/list`,
      `${repository}/referrers/${image.root.digest}`,
    ];
    for (const way of ways) {
      for (const method of ["GET", "HEAD"])
        expect([way, (await get(way, { method })).status]).toEqual([way, 403]);
      expect(await get(way)).toMatchObject({ code: "DENIED" });
    }
    expect((await get(blob(layer), { headers: { range: "bytes=0-9" } })).status).toBe(403);
    // What was never held is refused in the very same words.
    const one = await get(manifest("1"));
    const other = await get(manifest("9", "team/other"));
    expect(other.message).toBe(one.message.replaceAll("team/app:1", "team/other:9"));
    expect(one.message).toContain("policy.rules.0 (docker.io/team/**) denies docker.io/team/app:1");
    expect(hub.counts.requests).toEqual([]);
    expect(await setup.metric("hubcap_policy_refused_total", { reason: "denied" })).toBe(18);
  });

  it("lets the first that matches decide", async () => {
    await push({}, "1", "team/app");
    await push({}, "1", "team/other");
    await open({
      rules: [{ match: ["docker.io/team/app"] }, { match: ["docker.io/team/**"], pull: "deny" }],
    });
    expect((await get(manifest("1", "team/app"))).status).toBe(200);
    expect((await get(manifest("1", "team/other"))).status).toBe(403);
  });

  it("lets a runtime pull by an allowed tag all that belongs to it, and nothing else", async () => {
    const image = await push({}, "v1");
    const other = await push({ seed: "other" }, "dev");
    await open({
      rules: [{ match: ["docker.io/team/app:v*"] }, { match: ["**"], pull: "deny" }],
    });
    const result = await pull("v1");
    expect(result.errors).toEqual([]);
    hub.counts.reset();
    expect((await get(manifest("dev"))).status).toBe(403);
    expect((await get(manifest(other.root.digest))).status).toBe(403);
    expect((await get(manifest(child(other).digest))).status).toBe(403);
    expect((await get(blob(child(other).layer))).status).toBe(403);
    expect((await get(blob(child(image).layer))).status).toBe(200);
    expect(hub.counts.charged.total).toBe(0);
  });

  it("refuses the tag latest, or every tag, and serves the same by digest", async () => {
    const image = await push({}, "latest");
    await push({}, "1");
    await push({}, "1", "prod/app");
    await open({
      rules: [
        { match: ["**:latest"], pull: "deny" },
        { match: ["docker.io/prod/**"], digestOnly: true },
      ],
    });
    expect(await get(manifest("latest"))).toMatchObject({ status: 403, code: "DENIED" });
    expect((await get(manifest("1"))).status).toBe(200);
    expect((await get(manifest(image.root.digest))).status).toBe(200);
    const answer = await get(manifest("1", "prod/app"));
    expect(answer.status).toBe(403);
    expect(answer.message).toMatch(/tags can move, so pull it by its digest/);
    const held = (await push({}, "1", "prod/app")).root.digest;
    expect((await get(manifest(held, "prod/app"))).status).toBe(200);
  });

  it("refuses one digest, by the tag that means it too", async () => {
    const image = await push();
    await open({ rules: [{ match: [`docker.io/team/app@${image.root.digest}`], pull: "deny" }] });
    expect((await get(manifest(image.root.digest))).status).toBe(403);
    expect((await get(manifest("1"))).status).toBe(403);
  });
});

describe("the size of an image", () => {
  it("is refused by tag, digest and blob, and what is small enough is not", async () => {
    const large = await push({ layerBytes: 40_000 }, "large");
    const small = await push({ layerBytes: 1000 }, "small");
    const setup = await open({ rules: [{ match: ["**"], maxSize: "20kB" }] });
    expect((await get(manifest("large"))).status).toBe(200); // an index is served as it is
    const answer = await get(manifest(child(large).digest));
    expect(answer).toMatchObject({ status: 403, code: "DENIED" });
    expect(answer.message).toMatch(/its layers are \d+ bytes and maxSize is 20000/);
    for (const digest of [child(large).layer, child(large).config]) {
      expect((await get(blob(digest))).status).toBe(403);
      expect((await get(blob(digest), { method: "HEAD" })).status).toBe(403);
      expect((await get(blob(digest), { headers: { range: "bytes=0-0" } })).status).toBe(403);
    }
    expect(hub.counts.cdnGets.total).toBe(0);
    const result = await pull("small");
    expect(result.errors).toEqual([]);
    expect(result.manifest).toBe(child(small).digest);
    expect(await setup.metric("hubcap_policy_refused_total", { reason: "size" })).toBeGreaterThan(0);

    // The verdict outlives the process, and nothing is spent to come to it again.
    await setup.restart();
    hub.counts.reset();
    expect((await get(manifest(child(large).digest))).status).toBe(403);
    expect((await get(blob(child(large).layer))).status).toBe(403);
    expect((await get(blob(child(small).layer))).status).toBe(200);
    expect(hub.counts.requests).toEqual([]);

    const explained = (await setup.status(
      `/api/v1/explain?image=docker.io/team/app@${child(large).digest}`,
    )) as {
      wouldAnswer: string;
      why: string;
    };
    expect(explained.wouldAnswer).toBe("refused");
    expect(explained.why).toContain("policy.rules.0 (**) refuses");
  });

  it("is asked anew when the rule changes", async () => {
    const image = await push({ layerBytes: 40_000 });
    const setup = await open({ rules: [{ match: ["**"], maxSize: "20kB" }] });
    expect((await get(manifest(child(image).digest))).status).toBe(403);
    await setup.restart({
      upstreams: { "docker.io": upstreamOf(hub) },
      policy: { rules: [{ match: ["**"], maxSize: "20MB" }] },
    });
    // Also for a node that has the manifest already and comes for the layers.
    expect((await get(blob(child(image).layer))).status).toBe(200);
    expect((await get(manifest(child(image).digest))).status).toBe(200);
  });
});

describe("the platform of an image", () => {
  it("is refused before a pull is spent when the index tells it, and otherwise by the config", async () => {
    const image = await push({ attestations: true });
    const setup = await open({ rules: [{ match: ["**"], platforms: ["linux/amd64"] }] });
    const { status, body } = await ask(`${setup.url}/v2/${manifest("1")}`);
    expect(status).toBe(200);
    expect(body.equals(image.manifests.get(image.root.digest)?.bytes ?? Buffer.alloc(0))).toBe(true);
    hub.counts.reset();
    const arm = child(image, "linux/arm64");
    const answer = await get(manifest(arm.digest));
    expect(answer).toMatchObject({ status: 403, code: "DENIED" });
    expect(answer.message).toMatch(/it is for linux\/arm64, and only linux\/amd64 may be pulled/);
    expect(hub.counts.charged.total).toBe(0);
    expect((await get(manifest(child(image).digest))).status).toBe(200);
    expect((await get(blob(child(image).layer))).status).toBe(200);
    expect((await get(blob(arm.layer))).status).toBe(403);

    // Attestations are of no platform.
    const index = JSON.parse(body.toString()) as {
      manifests: { digest: string; platform: { os: string } }[];
    };
    const attestation = index.manifests.find(({ platform }) => platform.os === "unknown")?.digest ?? "";
    expect((await get(manifest(attestation))).status).toBe(200);

    // Asked for by digest in a repository where no index names it, the image's own config does.
    const single = await buildImage({ seed: "single", platforms: ["linux/arm64"] });
    hub.push(single, "team/single", "1");
    expect((await get(manifest(child(single, "linux/arm64").digest, "team/single"))).status).toBe(403);
  });
});

describe("the age of an image", () => {
  const created = "2026-01-01T00:00:00Z"; // what test images say
  const ageDays = (Date.now() - Date.parse(created)) / 86_400_000;

  it("counts from the date in its config", async () => {
    const image = await push();
    const setup = await open({ rules: [{ match: ["**"], minAge: `${Math.ceil(ageDays + 1)}d` }] });
    const answer = await get(manifest(child(image).digest));
    expect(answer).toMatchObject({ status: 403, code: "DENIED" });
    expect(answer.message).toMatch(/it was created at 2026-01-01T00:00:00Z and is too young: pull it after/);
    expect((await get(blob(child(image).layer))).status).toBe(403);
    await setup.restart({
      upstreams: { "docker.io": upstreamOf(hub) },
      policy: { rules: [{ match: ["**"], minAge: `${Math.floor(ageDays - 1)}d` }] },
    });
    const result = await pull("1");
    expect(result.errors).toEqual([]);
  });

  it("counts from when Hubcap saw it first where the config has no date", async () => {
    // Artifacts have the empty config.
    const artifact = buildArtifact({ artifactType: "application/vnd.example" });
    hub.push(artifact, repository, "undated");
    const clock = await MovableClock.make("wall");
    onTestFinished(() => clock.dispose());
    const setup = await open({ rules: [{ match: ["**"], minAge: "1d" }] }, {}, clock.start);
    const answer = await get(manifest("undated"));
    expect(answer.status).toBe(403);
    expect(answer.message).toMatch(/when Hubcap first saw it, since its config has no date/);
    await clock.advance(setup, 86_400_000);
    expect((await get(manifest("undated"))).status).toBe(200);
  });

  it("is not guessed while the config cannot be had", async () => {
    const image = await push();
    await open({ rules: [{ match: ["**"], minAge: "1d" }] });
    hub.fault({ kind: "status", status: 429, headers: { "retry-after": "1" }, asks: "blob" });
    expect((await get(manifest(child(image).digest))).status).toBe(429);
    hub.faults.clear();
    await expect.poll(async () => (await get(manifest(child(image).digest))).status).toBe(200);
  });
});

describe("an immutable tag", () => {
  const policy = { immutableTags: ["docker.io/team/app:v*"] };
  const config = () => ({
    upstreams: { "docker.io": upstreamOf(hub) },
    policy,
    freshness: { tagTtl: "0s" },
  });

  it("stays what it was first, with an alarm, over restarts too", async () => {
    const first = await push({ seed: "first" }, "v1");
    const setup = await open(policy, { freshness: { tagTtl: "0s" } });
    expect(await digestOf("v1", "HEAD")).toBe(first.root.digest);
    expect(await digestOf("v1")).toBe(first.root.digest);
    const second = await push({ seed: "second" }, "v1");
    const events = await openReply(`${setup.statusUrl}/api/v1/quota/events`);
    let answer = "";
    events.setEncoding("utf8").on("data", (text: string) => (answer += text));
    expect(await digestOf("v1")).toBe(first.root.digest);
    expect(await digestOf("v1", "HEAD")).toBe(first.root.digest);
    const line = await setup.logged(({ msg }) => /has moved upstream/.test(String(msg)));
    expect(line).toMatchObject({ tag: "v1", first: first.root.digest, level: "error" });
    expect(await setup.metric("hubcap_immutable_tag_moves_total")).toBe(1);
    await expect
      .poll(() => /event: moved\ndata: (.*)\n/.exec(answer)?.[1])
      .toContain(`"tag":"v1","first":"${first.root.digest}","now":"${second.root.digest}"`);
    events.destroy();

    await setup.restart(config());
    hub.counts.reset();
    expect(await digestOf("v1")).toBe(first.root.digest);
    expect(hub.counts.charged.total).toBe(0);
  });

  it("is fetched again by its first digest when it was evicted", async () => {
    const first = await push({ seed: "first" }, "v1");
    const folder = await mkdtemp(join(tmpdir(), "hubcap-policy-"));
    await writeFile(`${folder}/token`, "sesame");
    const setup = await open(policy, {
      freshness: { tagTtl: "0s" },
      admin: { tokenFile: `${folder}/token` },
    });
    expect(await digestOf("v1")).toBe(first.root.digest);
    await push({ seed: "second" }, "v1");
    const { status } = await ask(`${setup.statusUrl}/api/v1/cache/images?image=docker.io/team/app`, {
      method: "DELETE",
      headers: { authorization: "Bearer sesame" },
    });
    expect(status).toBe(200);
    hub.counts.reset();
    expect(await digestOf("v1")).toBe(first.root.digest);
    expect(hub.counts.charged.byDigest).toEqual({ [first.root.digest]: 1 });
    await rm(folder, { recursive: true });
  });

  it("keeps what it meant before it was declared immutable", async () => {
    const first = await push({ seed: "first" }, "v1");
    const setup = await open({});
    expect(await digestOf("v1")).toBe(first.root.digest);
    await push({ seed: "second" }, "v1");
    await setup.restart(config());
    expect(await digestOf("v1")).toBe(first.root.digest);
    // Out of the list it moves, and is forgotten; declared again, it begins anew.
    await setup.restart({ ...config(), policy: {} });
    const second = await digestOf("v1");
    expect(second).not.toBe(first.root.digest);
    await setup.restart(config());
    expect(await digestOf("v1")).toBe(second);
  });

  it("is served while its upstream is down", async () => {
    const first = await push({ seed: "first" }, "v1");
    await open(policy, { freshness: { tagTtl: "0s" } });
    expect(await digestOf("v1")).toBe(first.root.digest);
    await hub.registry.down();
    expect(await digestOf("v1")).toBe(first.root.digest);
  });
});
