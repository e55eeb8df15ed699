/** `hubcap export` and `hubcap import`: images cross an air gap byte for byte. */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lockRoot } from "../../src/store/sqlite/lock.ts";
import { openAirGap, platforms, type AirGap } from "../support/airGap.ts";
import { ask } from "../support/ask.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { runHubcap } from "../support/run.ts";

let gap: AirGap;
/** The whole archive of both images. */
let archive: string;

beforeAll(async () => {
  gap = await openAirGap();
  archive = await gap.exported("both.tar", "app:1", "ghcr.io/org/other:1");
});

afterAll(() => gap.close());

describe("an export", () => {
  it("is the same archive each time, from a running store and from a stopped one", async () => {
    const first = await readFile(archive);
    await gap.source.stop();
    const again = await gap.exported("again.tar", "app:1", "ghcr.io/org/other:1");
    await gap.source.start();
    expect(first.equals(await readFile(again))).toBe(true);
  });

  it("keeps an index byte for byte when only one platform goes along", async () => {
    const whole = await readFile(archive);
    const part = await readFile(await gap.exported("amd64.tar", "app:1", "--platform", "linux/amd64"));
    expect(part.length).toBeLessThan(whole.length);
    expect(part.includes(gap.app.manifests.get(gap.app.root.digest)?.bytes ?? "")).toBe(true);
  });

  it("says what is not held, and leaves nothing behind", async () => {
    const config = await gap.configured(gap.source.root);
    const file = join(gap.folder, "nothing.tar");
    const { code, errors } = await runHubcap(["export", "--config", config, "-o", file, "app:2"]);
    expect([code, errors]).toEqual([
      1,
      "hubcap: docker.io/library/app:2 is not held: pull it through Hubcap first\n",
    ]);
    await expect(readFile(file)).rejects.toThrow("ENOENT");
    await expect(readFile(`${file}.part`)).rejects.toThrow("ENOENT");
  });

  it("ends with 2 for a platform that is none, since it would hold nothing that runs", async () => {
    const config = await gap.configured(gap.source.root);
    const file = join(gap.folder, "none.tar");
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
    const { mirror, ended } = await gap.servedFrom(archive);
    try {
      expect(ended).toMatchObject({ code: 0, output: "docker.io/library/app:1\nghcr.io/org/other:1\n" });
      gap.hub.counts.reset();
      for (const platform of platforms) {
        const pull = { mirror: mirror.url, reference: "1", platform };
        const own = await pullLikeContainerd({ ...pull, ns: "docker.io", repository: "library/app" });
        expect([own.errors, own.root]).toEqual([[], gap.app.root.digest]);
        const other = await pullLikeContainerd({ ...pull, ns: "ghcr.io", repository: "org/other" });
        expect(other.errors).toEqual([]);
      }
      const reply = await ask(`${mirror.url}/v2/library/app/referrers/${gap.app.root.digest}?ns=docker.io`);
      const { manifests } = JSON.parse(reply.body.toString()) as { manifests: { digest: string }[] };
      expect(manifests.map(({ digest }) => digest)).toEqual([gap.signature.root.digest]);
      const found = await ask(
        `${mirror.url}/v2/library/app/manifests/${gap.signature.root.digest}?ns=docker.io`,
      );
      expect(
        found.body.equals(gap.signature.manifests.get(gap.signature.root.digest)?.bytes ?? Buffer.alloc(0)),
      ).toBe(true);
      expect(gap.hub.counts.requests).toEqual([]);
    } finally {
      await mirror.dispose();
    }
  });

  it("refuses a store that is in use", async () => {
    const root = await mkdtemp(join(tmpdir(), "hubcap-used-"));
    const lock = lockRoot(root);
    const { code, errors } = await runHubcap(["import", "--config", await gap.configured(root), archive]);
    lock.release();
    expect(code).toBe(1);
    expect(errors).toMatch(/^hubcap: another Hubcap is using .*: stop it first.*\n$/);
  });

  it("makes no store for an archive that is not there", async () => {
    const root = join(await mkdtemp(join(tmpdir(), "hubcap-none-")), "store");
    const missing = await runHubcap([
      "import",
      "--config",
      await gap.configured(root),
      join(gap.folder, "missing.tar"),
    ]);
    expect([missing.code, missing.output]).toEqual([1, ""]);
    expect(missing.errors).toMatch(/^hubcap: \S+missing\.tar cannot be read: ENOENT\n$/);
    expect(existsSync(root)).toBe(false);
  });

  it("takes nothing that is not what its name says", async () => {
    const bytes = await readFile(archive);
    const layer = [...gap.app.platforms.values()][0]?.layers.at(-1);
    const at = bytes.indexOf(`blobs/sha256/${layer?.digest.slice(7)}`) + 512 + 1000;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    const damaged = join(gap.folder, "damaged.tar");
    await writeFile(damaged, bytes);
    const { mirror, ended } = await gap.servedFrom(damaged);
    expect(ended.code).toBe(1);
    expect(ended.errors).toContain(`came as ${layer?.digest}`);
    // What had come whole before may be found again and kept, but no client can ask for it.
    const { images } = (await mirror.status("/api/v1/cache/images")) as { images: { repository: string }[] };
    expect(images.filter(({ repository }) => /^(docker|ghcr)\.io\//.test(repository))).toEqual([]);
    await mirror.dispose();
  });
});
