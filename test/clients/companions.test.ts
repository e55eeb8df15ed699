/** What cosign and BuildKit attach to images, as they really write it, is served where every image is refused. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask } from "../support/ask.ts";
import { requireClient, withClient } from "../support/clients.ts";
import { Daemon, run, sealed } from "../support/clients/process.ts";
import { ReferenceRegistry } from "../support/clients/referenceRegistry.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { Signer, signatureTag } from "../support/signer.ts";

interface Index {
  readonly manifests: readonly { readonly digest: string; readonly annotations?: Record<string, string> }[];
}

withClient("docker-registry", (program) => {
  const opened = new AsyncDisposableStack();
  let folder: string;
  let env: NodeJS.ProcessEnv;
  let hub: Hub;
  let registry: ReferenceRegistry;
  let hubcap: Hubcap;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "hubcap-companions-"));
    opened.defer(() => rm(folder, { recursive: true }));
    env = sealed(folder, { COSIGN_PASSWORD: "" });
    hub = await startHub();
    opened.defer(() => hub.stop());
    registry = await ReferenceRegistry.start(program, { folder });
    opened.defer(() => registry.stop());
    await writeFile(join(folder, "stranger.pub"), Signer.withKey().publicKey);
    // No image passes: each is too young, of another platform, and not signed by whom it should.
    hubcap = await startHubcap({
      config: {
        upstreams: { "ghcr.io": { url: registry.url, allowPrivateAddresses: true } },
        defaultUpstream: "ghcr.io",
        policy: { rules: [{ match: ["**"], minAge: "3650d", platforms: ["linux/s390x"] }] },
        verify: [{ repositories: ["ghcr.io/**"], cosign: { keys: [join(folder, "stranger.pub")] } }],
      },
    });
    opened.defer(() => hubcap.dispose());
  });
  afterAll(() => opened.disposeAsync());

  async function answer(repository: string, reference: string): Promise<number> {
    return (await ask(`${hubcap.url}/v2/ghcr.io/${repository}/manifests/${reference}`)).status;
  }

  /** The manifests that an index in the registry names. */
  async function children(repository: string, reference: string): Promise<Index["manifests"]> {
    const { body } = await ask(`${registry.url}/v2/${repository}/manifests/${reference}`, {
      headers: { accept: "application/vnd.oci.image.index.v1+json" },
    });
    return (JSON.parse(body.toString()) as Index).manifests;
  }

  withClient("cosign", (cosign) => {
    it("serves cosign's signatures and attestations by their tags, and as referrers", async () => {
      const image = await buildImage({ seed: "signed" });
      const { digest } = image.root;
      hub.push(image, "team/signed", "1");
      const source = `${new URL(hub.url).host}/team/signed:1`;
      const target = `${registry.address}/team/signed`;
      await run(requireClient("crane").path, ["copy", "--insecure", source, `${target}:1`], env);
      await run(cosign.path, ["generate-key-pair", "--output-key-prefix", join(folder, "key")], env);
      await writeFile(join(folder, "sbom.json"), JSON.stringify({ spdxVersion: "SPDX-2.3", packages: [] }));
      const offline = ["--yes", "--allow-http-registry", "--tlog-upload=false", "--use-signing-config=false"];
      const key = ["--key", join(folder, "key.key"), ...offline];
      const predicate = ["--predicate", join(folder, "sbom.json"), "--type", "spdxjson"];
      for (const format of ["--new-bundle-format=false", "--new-bundle-format=true"]) {
        await run(cosign.path, ["sign", ...key, format, `${target}@${digest}`], env);
        await run(cosign.path, ["attest", ...key, format, ...predicate, `${target}@${digest}`], env);
      }
      const tag = signatureTag(digest);
      expect(await answer("team/signed", tag)).toBe(200);
      expect(await answer("team/signed", tag.replace(/sig$/, "att"))).toBe(200);
      const referrers = await children("team/signed", tag.replace(/\.sig$/, ""));
      expect(referrers).toHaveLength(2);
      for (const referrer of referrers) expect(await answer("team/signed", referrer.digest)).toBe(200);
      expect(await answer("team/signed", digest)).toBe(403);
      for (const { manifest } of image.platforms.values())
        expect(await answer("team/signed", manifest.digest)).toBe(403);
    });
  });

  withClient("buildkitd", (buildkit) => {
    it("serves BuildKit's attestations", async () => {
      const home = join(folder, "buildkit");
      await mkdir(home);
      await writeFile(join(home, "Dockerfile"), "FROM scratch\nCOPY Dockerfile /\n");
      const address = `unix://${join(home, "buildkit.sock")}`;
      const worker = [
        "--oci-worker-snapshotter=native",
        "--oci-worker-net=host",
        "--containerd-worker=false",
      ];
      const daemon = await Daemon.start(
        buildkit.path,
        [`--root=${join(home, "root")}`, `--addr=${address}`, ...worker],
        { env, log: join(folder, "buildkitd.log"), ready: (log) => log.includes("running server on") },
      );
      opened.defer(() => daemon.stop());
      const context = ["--local", `context=${home}`, "--local", `dockerfile=${home}`];
      const image = `${registry.address}/team/built:1`;
      const output = [
        "--output",
        `type=image,name=${image},push=true,registry.insecure=true,oci-mediatypes=true`,
      ];
      const build = ["--addr", address, "build", "--frontend", "dockerfile.v0", ...context, ...output];
      await run(
        requireClient("buildctl").path,
        [...build, "--opt", "attest:provenance=mode=max,builder-id=here"],
        env,
      );
      const built = await children("team/built", "1");
      const kinds = built.map(({ annotations }) => annotations?.["vnd.docker.reference.type"]);
      expect(kinds).toEqual([undefined, "attestation-manifest"]);
      const statuses = await Promise.all(built.map(({ digest }) => answer("team/built", digest)));
      expect(statuses).toEqual([403, 200]);
    });
  });
});
