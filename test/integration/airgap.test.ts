/** `hubcap export` and `hubcap import`: images cross an air gap byte for byte, to Hubcap and to other tools. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { lockRoot } from "../../src/store/sqlite/lock.ts";
import { ask } from "../support/ask.ts";
import { withClient } from "../support/clients.ts";
import { run, sealed } from "../support/clients/process.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildArtifact, buildImage, type Bundle, type Image } from "../support/images.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { runHubcap, type Ended } from "../support/run.ts";

const platforms = ["linux/amd64", "linux/arm64"];

let hub: Hub;
let source: Hubcap;
let app: Image;
let signature: Bundle;
let folder: string;
/** The whole archive of both images. */
let archive: string;

/** A configuration file for a store at `root`, with the stand-in as docker.io and as ghcr.io. */
async function configured(root: string): Promise<string> {
  const file = `${root}.yaml`;
  const upstreams = { "docker.io": upstreamOf(hub), "ghcr.io": upstreamOf(hub) };
  await writeFile(file, stringify({ storage: { root }, upstreams }));
  return file;
}

async function exported(name: string, ...args: string[]): Promise<string> {
  const file = join(folder, name);
  const { code, errors } = await runHubcap([
    "export",
    "--config",
    await configured(source.root),
    "-o",
    file,
    ...args,
  ]);
  expect([code, code === 0 ? "" : errors]).toEqual([0, ""]);
  return file;
}

/** A store of its own, filled from an archive, served where no upstream can be reached. */
async function servedFrom(file: string, ...args: string[]): Promise<{ mirror: Hubcap; ended: Ended }> {
  const mirror = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub), "ghcr.io": upstreamOf(hub) } },
  });
  await mirror.stop();
  const ended = await runHubcap(["import", "--config", await configured(mirror.root), file, ...args]);
  await mirror.start();
  return { mirror, ended };
}

/** A client has its last byte before the blob is safe on disk. */
async function settled(blobs: number): Promise<void> {
  await vi.waitFor(async () => expect(await source.metric("hubcap_cache_blobs")).toBe(blobs), 10_000);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-airgap-"));
  hub = await startHub({ limit: "unlimited" });
  app = await buildImage({ seed: "app", sharedLayers: 1, layerBytes: 100_000 });
  signature = buildArtifact({ artifactType: "application/vnd.test.signature", subject: app.root });
  hub.push(app, "library/app", "1");
  hub.push(signature, "library/app", "signature");
  hub.push(await buildImage({ seed: "other", sharedLayers: 1, type: "docker" }), "org/other", "1");
  source = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub), "ghcr.io": upstreamOf(hub) } },
  });
  for (const platform of platforms) {
    const pull = { mirror: source.url, reference: "1", platform };
    await pullLikeContainerd({ ...pull, ns: "docker.io", repository: "library/app" });
    await pullLikeContainerd({ ...pull, ns: "ghcr.io", repository: "org/other" });
  }
  await ask(`${source.url}/v2/library/app/manifests/${signature.root.digest}?ns=docker.io`);
  for (const digest of signature.blobs.keys()) {
    await ask(`${source.url}/v2/library/app/blobs/${digest}?ns=docker.io`);
  }
  await settled(19);
  archive = await exported("both.tar", "app:1", "ghcr.io/org/other:1");
}, 60_000);

afterAll(async () => {
  await source.dispose();
  await hub.stop();
});

describe("an export", () => {
  it("is the same archive each time, from a running store and from a stopped one", async () => {
    const first = await readFile(archive);
    await source.stop();
    const again = await exported("again.tar", "app:1", "ghcr.io/org/other:1");
    await source.start();
    expect(first.equals(await readFile(again))).toBe(true);
  });

  it("keeps an index byte for byte when only one platform goes along", async () => {
    const whole = await readFile(archive);
    const part = await readFile(await exported("amd64.tar", "app:1", "--platform", "linux/amd64"));
    expect(part.length).toBeLessThan(whole.length);
    expect(part.includes(app.manifests.get(app.root.digest)?.bytes ?? "")).toBe(true);
  });

  it("says what is not held, and leaves nothing behind", async () => {
    const config = await configured(source.root);
    const file = join(folder, "nothing.tar");
    const { code, errors } = await runHubcap(["export", "--config", config, "-o", file, "app:2"]);
    expect([code, errors]).toEqual([
      1,
      "hubcap: docker.io/library/app:2 is not held: pull it through Hubcap first\n",
    ]);
    await expect(readFile(file)).rejects.toThrow("ENOENT");
    await expect(readFile(`${file}.part`)).rejects.toThrow("ENOENT");
  });

  it("ends with 2 for a platform that is none, since it would hold nothing that runs", async () => {
    const config = await configured(source.root);
    const file = join(folder, "none.tar");
    const { code, errors } = await runHubcap([
      "export",
      "--config",
      config,
      "-o",
      file,
      "--platform",
      "amd64",
      "app:1",
    ]);
    expect(code).toBe(2);
    expect(errors).toMatch(/^hubcap: --platform takes a platform such as linux\/amd64 [^\n]+\n$/);
  });
});

describe("an import", () => {
  it("holds every platform, tag and referrer of both source hosts, for pulls without any upstream", async () => {
    const { mirror, ended } = await servedFrom(archive);
    try {
      expect(ended).toMatchObject({ code: 0, output: "docker.io/library/app:1\nghcr.io/org/other:1\n" });
      hub.counts.reset();
      for (const platform of platforms) {
        const pull = { mirror: mirror.url, reference: "1", platform };
        const own = await pullLikeContainerd({ ...pull, ns: "docker.io", repository: "library/app" });
        expect([own.errors, own.root]).toEqual([[], app.root.digest]);
        const other = await pullLikeContainerd({ ...pull, ns: "ghcr.io", repository: "org/other" });
        expect(other.errors).toEqual([]);
      }
      const reply = await ask(`${mirror.url}/v2/library/app/referrers/${app.root.digest}?ns=docker.io`);
      const { manifests } = JSON.parse(reply.body.toString()) as { manifests: { digest: string }[] };
      expect(manifests.map(({ digest }) => digest)).toEqual([signature.root.digest]);
      const found = await ask(`${mirror.url}/v2/library/app/manifests/${signature.root.digest}?ns=docker.io`);
      expect(
        found.body.equals(signature.manifests.get(signature.root.digest)?.bytes ?? Buffer.alloc(0)),
      ).toBe(true);
      expect(hub.counts.requests).toEqual([]);
    } finally {
      await mirror.dispose();
    }
  }, 30_000);

  it("refuses a store that is in use", async () => {
    const root = await mkdtemp(join(tmpdir(), "hubcap-used-"));
    const lock = lockRoot(root);
    const { code, errors } = await runHubcap(["import", "--config", await configured(root), archive]);
    lock.release();
    expect(code).toBe(1);
    expect(errors).toMatch(/^hubcap: another Hubcap is using .*: stop it first.*\n$/);
  });

  it("makes no store for an archive that is not there", async () => {
    const root = join(await mkdtemp(join(tmpdir(), "hubcap-none-")), "store");
    const missing = await runHubcap([
      "import",
      "--config",
      await configured(root),
      join(folder, "missing.tar"),
    ]);
    expect([missing.code, missing.output]).toEqual([1, ""]);
    expect(missing.errors).toMatch(/^hubcap: \S+missing\.tar cannot be read: ENOENT\n$/);
    expect(existsSync(root)).toBe(false);
  });

  it("takes nothing that is not what its name says", async () => {
    const bytes = await readFile(archive);
    const layer = [...app.platforms.values()][0]?.layers.at(-1);
    const at = bytes.indexOf(`blobs/sha256/${layer?.digest.slice(7)}`) + 512 + 1000;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    const damaged = join(folder, "damaged.tar");
    await writeFile(damaged, bytes);
    const { mirror, ended } = await servedFrom(damaged);
    expect(ended.code).toBe(1);
    expect(ended.errors).toContain(`came as ${layer?.digest}`);
    // What had come whole before may be found again and kept, but nobody can ask for it.
    const { images } = (await mirror.status("/api/v1/cache/images")) as { images: { repository: string }[] };
    expect(images.filter(({ repository }) => /^(docker|ghcr)\.io\//.test(repository))).toEqual([]);
    await mirror.dispose();
  });
});

withClient("skopeo", (skopeo) => {
  it("copies an image out of an export, unchanged", async () => {
    const target = await mkdtemp(join(tmpdir(), "hubcap-skopeo-"));
    const from = `oci-archive:${await exported("skopeo.tar", "app:1")}:1`;
    await run(
      skopeo.path,
      ["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", from, `dir:${target}/image`],
      sealed(target),
    );
    const root = await readFile(join(target, "image/manifest.json"));
    expect(root.equals(app.manifests.get(app.root.digest)?.bytes ?? Buffer.alloc(0))).toBe(true);
  });

  it("writes archives that import", async () => {
    const target = await mkdtemp(join(tmpdir(), "hubcap-skopeo-"));
    const file = join(target, "app.tar");
    const from = `docker://${new URL(source.url).host}/docker.io/library/app:1`;
    await run(
      skopeo.path,
      [
        "--insecure-policy",
        "copy",
        "--quiet",
        "--all",
        "--src-tls-verify=false",
        from,
        `oci-archive:${file}:docker.io/library/app:1`,
      ],
      sealed(target),
    );
    const { mirror, ended } = await servedFrom(file);
    expect(ended).toMatchObject({ code: 0, output: "docker.io/library/app:1\n" });
    const pull = { mirror: mirror.url, ns: "docker.io", repository: "library/app", reference: "1" };
    const pulled = await pullLikeContainerd(pull);
    expect([pulled.errors, pulled.root]).toEqual([[], app.root.digest]);
    await mirror.dispose();
  });
});

withClient("oras", (oras) => {
  it("reads an export with its referrers, and writes layouts that import once they are named", async () => {
    const target = await mkdtemp(join(tmpdir(), "hubcap-oras-"));
    const layout = join(target, "layout");
    const file = await exported("oras.tar", "app:1");
    await run(
      oras.path,
      ["copy", "--no-tty", "--recursive", "--from-oci-layout", `${file}:1`, "--to-oci-layout", `${layout}:x`],
      sealed(target),
    );
    const index = await readFile(join(layout, "index.json"), "utf8");
    expect(index).toContain(app.root.digest);
    expect(await readFile(join(layout, "blobs/sha256", signature.root.digest.slice(7)))).toEqual(
      signature.manifests.get(signature.root.digest)?.bytes,
    );
    const bare = join(target, "bare");
    const from = `${new URL(source.url).host}/docker.io/library/app:1`;
    await run(
      oras.path,
      ["copy", "--no-tty", "--from-plain-http", from, "--to-oci-layout", `${bare}:x`],
      sealed(target),
    );
    const again = join(target, "again.tar");
    await run("tar", ["-C", bare, "-cf", again, "."], sealed(target));
    const unnamed = await servedFrom(again);
    expect(unnamed.ended.code).toBe(1);
    expect(unnamed.ended.errors).toContain("--as");
    await unnamed.mirror.dispose();
    const { mirror, ended } = await servedFrom(again, "--as", "docker.io/library/app:1");
    expect([ended.code, ended.code === 0 ? "" : ended.errors]).toEqual([0, ""]);
    const pull = { mirror: mirror.url, ns: "docker.io", repository: "library/app", reference: "1" };
    expect((await pullLikeContainerd(pull)).errors).toEqual([]);
    await mirror.dispose();
  });
});
