/** Real clients pull over TLS: they trust the configured authority, and show a certificate where one is required. */
import { appendFile, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { makeAuthority } from "../support/certificates.ts";
import { withClient } from "../support/clients.ts";
import { writeClientConfig } from "../support/clients/clientConfig.ts";
import { Containerd } from "../support/clients/containerd.ts";
import { run, sealed } from "../support/clients/process.ts";
import { startHub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import type { Image } from "../support/images.ts";
import { emptyFolder, pushImage, whole } from "./cluster.ts";

const authority = makeAuthority();
const clients = makeAuthority();

let folder: string;
let image: Image;
let address: string;

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

async function open(clientCertificates: "required" | "optional"): Promise<Hubcap> {
  const hub = await startHub();
  const { cert, key } = authority.issue({ names: ["127.0.0.1"] });
  const tls = {
    certificateFile: await file("tls.crt", cert),
    keyFile: await file("tls.key", key),
    clientCaFile: await file("clients.crt", clients.cert),
    clientCertificates,
  };
  const upstreams = { "docker.io": upstreamOf(hub) };
  const hubcap = await startHubcap({ config: { registry: { tls }, upstreams } });
  onTestFinished(async () => {
    await hubcap.dispose();
    await hub.stop();
  });
  image = await pushImage(hub, "library/app", "oci");
  address = new URL(hubcap.url).host;
  return hubcap;
}

/** A client's certificate and key as files. */
async function identity(): Promise<{ readonly cert: string; readonly key: string }> {
  const { cert, key } = clients.issue({ names: ["node-1.test"] });
  return { cert: await file("client.cert", cert), key: await file("client.key", key) };
}

beforeEach(async () => {
  folder = await emptyFolder();
});

for (const name of ["containerd", "containerd-2"] as const) {
  withClient(name, (client) => {
    /** A node whose docker.io is the mirror, with `lines` added to what is said of it. */
    async function start(...lines: readonly string[]): Promise<Containerd> {
      const node = await emptyFolder();
      const certificates = join(node, "certs.d");
      const ca = ["--ca", await file("ca.crt", authority.cert)];
      await writeClientConfig("containerd", `https://${address}`, certificates, ca);
      await appendFile(join(certificates, "docker.io/hosts.toml"), `${lines.join("\n")}\n`);
      const daemon = await Containerd.start(client, { folder: node });
      onTestFinished(() => daemon.stop());
      return daemon;
    }

    it("pulls with a certificate of its own", async () => {
      await open("required");
      const { cert, key } = await identity();
      const daemon = await start(`client = [["${cert}", "${key}"]]`);
      expect(await daemon.pull("docker.io/library/app:1")).toEqual(whole(image));
    });

    it("pulls without one where that will do", async () => {
      await open("optional");
      const daemon = await start();
      expect(await daemon.pullForKubelet("docker.io/library/app:1")).toEqual(whole(image));
    });
  });
}

withClient("skopeo", (client) => {
  async function inspect(certificates: string): Promise<string> {
    const { path } = client;
    const source = `docker://${address}/docker.io/library/app:1`;
    const options = ["--insecure-policy", "inspect", "--raw", "--cert-dir", certificates];
    return run(path, [...options, source], sealed(folder));
  }

  it("is served with a certificate of its own, and refused without", async () => {
    const hubcap = await open("required");
    const { cert, key } = await identity();
    const [bare, named] = [join(folder, "bare"), join(folder, "named")];
    for (const each of [bare, named]) {
      await mkdir(each);
      await writeFile(join(each, "ca.crt"), authority.cert);
    }
    await copyFile(cert, join(named, "client.cert"));
    await copyFile(key, join(named, "client.key"));
    await expect(inspect(bare)).rejects.toThrow(/certificate required/);
    expect(hubcap.logs().filter(({ msg }) => msg === "request")).toEqual([]);
    expect(JSON.parse(await inspect(named))).toMatchObject({ manifests: expect.any(Array) as unknown });
  });
});

withClient("crane", (client) => {
  it("pulls from an authority that it trusts", async () => {
    await open("optional");
    const trust = { ...sealed(folder), SSL_CERT_FILE: await file("trusted.pem", authority.cert) };
    const reference = `${address}/docker.io/library/app:1`;
    expect((await run(client.path, ["digest", reference], trust)).trim()).toBe(image.root.digest);
    await expect(run(client.path, ["digest", reference], sealed(folder))).rejects.toThrow(/certificate/);
  });
});
