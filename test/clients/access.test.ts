/** Real clients prove who they are, each in the way that it can, and pull a private image. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { withClient } from "../support/clients.ts";
import { Containerd } from "../support/clients/containerd.ts";
import { run, sealed } from "../support/clients/process.ts";
import type { WrittenConfig } from "../support/hubcap.ts";
import { openAccessSetup, secrets, type AccessSetup } from "../support/accessSetup.ts";
import { emptyFolder, pushImage, whole } from "./cluster.ts";

async function open(changes: WrittenConfig = {}): Promise<AccessSetup & { readonly address: string }> {
  const setup = await openAccessSetup(changes);
  onTestFinished(() => setup.close());
  return { ...setup, address: new URL(setup.hubcap.url).host };
}

for (const name of ["containerd", "containerd-2"] as const) {
  withClient(name, (client) => {
    async function start(address: string, token: string): Promise<Containerd> {
      const lines = [
        `[host."http://${address}"]`,
        'capabilities = ["pull", "resolve"]',
        `[host."http://${address}".header]`,
        `Authorization = "Bearer ${token}"`,
      ];
      const node = await emptyFolder();
      await mkdir(join(node, "certs.d/_default"), { recursive: true });
      await writeFile(join(node, "certs.d/_default/hosts.toml"), lines.join("\n"));
      const daemon = await Containerd.start(client, { folder: node });
      onTestFinished(() => daemon.stop());
      return daemon;
    }

    it("shows a token from a header in hosts.toml", async () => {
      const { hub, address } = await open();
      const image = await pushImage(hub, "private/tool", "oci");
      hub.shelf.restrict("private/tool", ["cluster"]);
      const daemon = await start(address, secrets.ci);
      expect(await daemon.pullForKubelet("docker.io/private/tool:1")).toEqual(whole(image));
      expect(Object.keys(hub.counts.charged.byAccount)).toEqual(["cluster"]);
    });

    it("goes on to the registry itself when it is denied", async () => {
      const { hubcap, address } = await open();
      const daemon = await start(address, secrets.wrong);
      // The registry is out of reach here, and that it is asked at all is what counts.
      await expect(daemon.pull("docker.io/private/app:1")).rejects.toThrow(/registry-1\.docker\.io/);
      expect(hubcap.logs().some(({ status }) => status === 401)).toBe(true);
    });
  });
}

withClient("crane", (client) => {
  it.each([
    ["a token of ours", "_token", secrets.ci],
    ["a user of the password file", "alice", secrets.alice],
  ])("shows %s", async (_, user, password) => {
    const { address, image } = await open();
    const folder = await emptyFolder();
    const auth = Buffer.from(`${user}:${password}`).toString("base64");
    await writeFile(join(folder, "config.json"), JSON.stringify({ auths: { [address]: { auth } } }));
    const environment = { ...sealed(folder), DOCKER_CONFIG: folder };
    const reference = `${address}/docker.io/private/app:1`;
    expect((await run(client.path, ["digest", reference], environment)).trim()).toBe(image.root.digest);
    await expect(run(client.path, ["digest", reference], sealed(folder))).rejects.toThrow(/UNAUTHORIZED|401/);
  });
});

withClient("skopeo", (client) => {
  it("shows a password where it is asked for one first", async () => {
    const folder = await emptyFolder();
    const { address, restart, folder: files } = await open();
    const inspect = (credentials: string): Promise<string> =>
      run(
        client.path,
        ["--insecure-policy", "inspect", "--raw", "--tls-verify=false", "--creds", credentials].concat(
          `docker://${address}/docker.io/private/app:1`,
        ),
        sealed(folder),
      );
    await restart({
      identities: { htpasswdFile: join(files, "htpasswd"), challenge: "always" },
      access: [{ who: ["user:alice"], allow: "pull" }],
    });
    expect(await inspect(`alice:${secrets.alice}`)).toContain("manifests");
    await expect(inspect("alice:wrong")).rejects.toThrow(
      /authentication required|invalid username|unauthorized/,
    );
  });
});
