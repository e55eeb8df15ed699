/** Archives that other tools read, and archives of theirs that `hubcap import` reads. */
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openAirGap, type AirGap } from "../support/airGap.ts";
import { withClient } from "../support/clients.ts";
import { run, sealed } from "../support/clients/process.ts";
import { pullLikeContainerd } from "../support/pull.ts";

let gap: AirGap;

beforeAll(async () => {
  gap = await openAirGap();
});

afterAll(() => gap.close());

withClient("skopeo", (skopeo) => {
  it("copies an image out of an export, unchanged", async () => {
    const target = await mkdtemp(join(tmpdir(), "hubcap-skopeo-"));
    const from = `oci-archive:${await gap.exported("skopeo.tar", "app:1")}:1`;
    await run(
      skopeo.path,
      ["--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", from, `dir:${target}/image`],
      sealed(target),
    );
    const root = await readFile(join(target, "image/manifest.json"));
    expect(root.equals(gap.app.manifests.get(gap.app.root.digest)?.bytes ?? Buffer.alloc(0))).toBe(true);
  });

  it("writes archives that import", async () => {
    const target = await mkdtemp(join(tmpdir(), "hubcap-skopeo-"));
    const file = join(target, "app.tar");
    const from = `docker://${new URL(gap.source.url).host}/docker.io/library/app:1`;
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
    const { mirror, ended } = await gap.servedFrom(file);
    expect(ended).toMatchObject({ code: 0, output: "docker.io/library/app:1\n" });
    const pull = { mirror: mirror.url, ns: "docker.io", repository: "library/app", reference: "1" };
    const pulled = await pullLikeContainerd(pull);
    expect([pulled.errors, pulled.root]).toEqual([[], gap.app.root.digest]);
    await mirror.dispose();
  });
});

withClient("oras", (oras) => {
  it("reads an export with its referrers, and writes layouts that import once they are named", async () => {
    const target = await mkdtemp(join(tmpdir(), "hubcap-oras-"));
    const layout = join(target, "layout");
    const file = await gap.exported("oras.tar", "app:1");
    await run(
      oras.path,
      ["copy", "--no-tty", "--recursive", "--from-oci-layout", `${file}:1`, "--to-oci-layout", `${layout}:x`],
      sealed(target),
    );
    const index = await readFile(join(layout, "index.json"), "utf8");
    expect(index).toContain(gap.app.root.digest);
    expect(await readFile(join(layout, "blobs/sha256", gap.signature.root.digest.slice(7)))).toEqual(
      gap.signature.manifests.get(gap.signature.root.digest)?.bytes,
    );
    const bare = join(target, "bare");
    const from = `${new URL(gap.source.url).host}/docker.io/library/app:1`;
    await run(
      oras.path,
      ["copy", "--no-tty", "--from-plain-http", from, "--to-oci-layout", `${bare}:x`],
      sealed(target),
    );
    const again = join(target, "again.tar");
    await run("tar", ["-C", bare, "-cf", again, "."], sealed(target));
    const unnamed = await gap.servedFrom(again);
    expect(unnamed.ended.code).toBe(1);
    expect(unnamed.ended.errors).toContain("--as");
    await unnamed.mirror.dispose();
    const { mirror, ended } = await gap.servedFrom(again, "--as", "docker.io/library/app:1");
    expect([ended.code, ended.code === 0 ? "" : ended.errors]).toEqual([0, ""]);
    const pull = { mirror: mirror.url, ns: "docker.io", repository: "library/app", reference: "1" };
    expect((await pullLikeContainerd(pull)).errors).toEqual([]);
    await mirror.dispose();
  });
});
