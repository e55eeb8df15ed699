/** Real cosign signs in a real registry, in both of its formats, and Hubcap serves what the right key has signed. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask } from "../support/ask.ts";
import { makeAuthority } from "../support/certificates.ts";
import { withClient } from "../support/clients.ts";
import { run, sealed } from "../support/clients/process.ts";
import { ReferenceRegistry } from "../support/clients/referenceRegistry.ts";
import { TimestampAuthority } from "../support/clients/timestampAuthority.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, type Hubcap } from "../support/hubcap.ts";
import { buildImage, type Image } from "../support/images.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { signatureTag } from "../support/signer.ts";

/** Nothing outside of this machine is asked: no log, no service of sigstore. */
const offline = ["--yes", "--allow-http-registry", "--tlog-upload=false", "--use-signing-config=false"];

const formats = [
  ["the tag scheme", "--new-bundle-format=false"],
  ["a bundle", "--new-bundle-format=true"],
] as const;

withClient("cosign", (cosign) => {
  withClient("docker-registry", (program) => {
    withClient("crane", (crane) => {
      const opened = new AsyncDisposableStack();
      let folder: string;
      let hub: Hub;
      let registry: ReferenceRegistry;
      let hubcap: Hubcap;

      const env = (): NodeJS.ProcessEnv => sealed(folder, { COSIGN_PASSWORD: "" });

      async function makeKey(name: string): Promise<string> {
        await run(cosign.path, ["generate-key-pair", "--output-key-prefix", join(folder, name)], env());
        return join(folder, `${name}.pub`);
      }

      /** An image in the real registry. */
      async function put(repository: string): Promise<Image> {
        const image = await buildImage({ seed: repository });
        hub.push(image, repository, "1");
        const source = `${new URL(hub.url).host}/${repository}:1`;
        await run(crane.path, ["copy", "--insecure", source, `${registry.address}/${repository}:1`], env());
        return image;
      }

      async function sign(
        repository: string,
        digest: string,
        format: string,
        key = "good",
        more: readonly string[] = [],
      ): Promise<void> {
        const image = `${registry.address}/${repository}@${digest}`;
        const parameters = ["sign", "--key", join(folder, `${key}.key`), format, ...offline, ...more, image];
        await run(cosign.path, parameters, env());
      }

      async function reply(path: string): Promise<{ readonly status: number; readonly message: string }> {
        const { status, body } = await ask(`${hubcap.url}/v2/ghcr.io/${path}`);
        return { status, message: status < 400 ? "" : body.toString() };
      }

      beforeAll(async () => {
        folder = await mkdtemp(join(tmpdir(), "hubcap-cosign-"));
        opened.defer(() => rm(folder, { recursive: true }));
        hub = await startHub();
        opened.defer(() => hub.stop());
        registry = await ReferenceRegistry.start(program, { folder });
        opened.defer(() => registry.stop());
        await makeKey("bad");
        const key = await makeKey("good");
        hubcap = await startHubcap({
          config: {
            upstreams: { "ghcr.io": { url: registry.url, allowPrivateAddresses: true } },
            defaultUpstream: "ghcr.io",
            verify: [{ repositories: ["ghcr.io/**"], cosign: { keys: [key] } }],
          },
        });
        opened.defer(() => hubcap.dispose());
      });
      afterAll(() => opened.disposeAsync());

      describe.each(formats)("with %s", (name, format) => {
        const repository = `team/${name.replace(" ", "-").replace(" ", "-")}`;

        it("serves what the right key has signed, its index signing for all platforms", async () => {
          const image = await put(repository);
          await sign(repository, image.root.digest, format);
          const options = { mirror: hubcap.url, ns: "ghcr.io", repository, reference: "1" };
          const { errors, root } = await pullLikeContainerd(options);
          expect({ errors, root }).toEqual({ errors: [], root: image.root.digest });
        });

        it("lets cosign verify it through Hubcap, too", async () => {
          const through = `${new URL(hubcap.url).host}/ghcr.io/${repository}:1`;
          const key = ["--key", join(folder, "good.pub"), "--insecure-ignore-tlog", format];
          const said = await run(cosign.path, ["verify", ...key, "--allow-http-registry", through], env());
          expect(said).toContain("docker-manifest-digest");
        });

        it("refuses what another key has signed", async () => {
          const image = await put(`${repository}/other`);
          await sign(`${repository}/other`, image.root.digest, format, "bad");
          const { status, message } = await reply(`${repository}/other/manifests/1`);
          expect(status).toBe(403);
          expect(message).toMatch(/another key/);
        });

        it("serves one platform that was signed alone", async () => {
          const image = await put(`${repository}/alone`);
          const digest = image.platforms.get("linux/arm64")?.manifest.digest ?? "";
          await sign(`${repository}/alone`, digest, format);
          expect((await reply(`${repository}/alone/manifests/${digest}`)).status).toBe(200);
          const other = image.platforms.get("linux/amd64")?.manifest.digest ?? "";
          expect((await reply(`${repository}/alone/manifests/${other}`)).status).toBe(403);
        });
      });

      withClient("openssl", (openssl) => {
        const subject = "release@example.test";
        const issuer = "https://accounts.example.test";
        let clock: TimestampAuthority;
        let identified: Hubcap;

        beforeAll(async () => {
          clock = await TimestampAuthority.start(openssl, join(folder, "clock"));
          opened.defer(() => clock.stop());
          const authority = makeAuthority();
          await writeFile(join(folder, "authority.pem"), authority.cert);
          for (const [name, who] of [
            ["release", subject],
            ["somebody", "somebody@example.test"],
          ] as const) {
            const { key, cert } = authority.issueSigner({ subject: who, issuer });
            await writeFile(join(folder, `${name}.pem`), cert);
            await writeFile(join(folder, "plain.key"), key);
            const to = ["--output-key-prefix", join(folder, name), "--yes"];
            await run(cosign.path, ["import-key-pair", "--key", join(folder, "plain.key"), ...to], env());
          }
          const root = join(folder, "root.json");
          const fulcio = `url=https://fulcio.test,certificate-chain=${join(folder, "authority.pem")}`;
          const tsa = `url=${clock.url},certificate-chain=${clock.chain}`;
          const from = ["--fulcio", fulcio, "--tsa", tsa, "--out", root];
          await run(cosign.path, ["trusted-root", "create", ...from], env());
          identified = await startHubcap({
            config: {
              upstreams: { "ghcr.io": { url: registry.url, allowPrivateAddresses: true } },
              defaultUpstream: "ghcr.io",
              verify: [
                {
                  repositories: ["ghcr.io/**"],
                  cosign: { identities: [{ subject, issuerRegExp: "accounts" }], trustedRootFile: root },
                },
              ],
            },
          });
          opened.defer(() => identified.dispose());
        });

        const certified = (who: string): string[] => [
          `--certificate=${join(folder, `${who}.pem`)}`,
          `--certificate-chain=${join(folder, "authority.pem")}`,
          `--timestamp-server-url=${clock.url}`,
        ];

        describe.each(formats)("as somebody with a certificate, with %s", (name, format) => {
          const repository = `who/${name.replaceAll(" ", "-")}`;
          it.each([
            ["release", /"schemaVersion"/],
            ["somebody", /"DENIED".*made by somebody@example\.test \(issuer https:\/\/accounts/],
          ])("has what %s signed answered with %s", async (who, answer) => {
            const image = await put(`${repository}/${who}`);
            await sign(`${repository}/${who}`, image.root.digest, format, who, certified(who));
            const { body } = await ask(`${identified.url}/v2/${repository}/${who}/manifests/1`);
            expect(body.toString()).toMatch(answer);
          });
        });
      });

      it("refuses what is not signed", async () => {
        await put("team/unsigned");
        const { status, message } = await reply("team/unsigned/manifests/1");
        expect(status).toBe(403);
        expect(message).toMatch(/it is not signed/);
      });

      it("refuses the signature of one image under the tag of another", async () => {
        const image = await put("team/first");
        await sign("team/first", image.root.digest, "--new-bundle-format=false");
        const victim = await put("team/victim");
        const from = `${registry.address}/team/first:${signatureTag(image.root.digest)}`;
        const to = `${registry.address}/team/victim:${signatureTag(victim.root.digest)}`;
        await run(crane.path, ["copy", "--insecure", from, to], env());
        const { status, message } = await reply("team/victim/manifests/1");
        expect(status).toBe(403);
        expect(message).toContain(`of another image (${image.root.digest})`);
      });
    });
  });
});
