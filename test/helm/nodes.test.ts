/** The chart's node agent: what it writes, on a node that is a folder. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { Child } from "../support/child.ts";
import { makeAuthority } from "../support/certificates.ts";
import { withClient } from "../support/clients.ts";
import { only, render, type Values } from "./chart.ts";
import { setups } from "./setups.ts";

let node: string;
let secrets: string;

beforeEach(async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-node-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  node = join(folder, "certs.d");
  secrets = join(folder, "secrets");
  await mkdir(join(secrets, "hubcap-ca"), { recursive: true });
  await mkdir(join(secrets, "hubcap-token"));
  await writeFile(join(secrets, "hubcap-ca/ca.crt"), makeAuthority().cert);
  await writeFile(join(secrets, "hubcap-token/token"), "t0ken\n");
});

/** Starts what the agent's container would, on a node called worker-1 at 192.0.2.7. */
async function agent(values: Values | undefined): Promise<Child> {
  const { containers, volumes } = only(await render(values ?? {}), "DaemonSet").spec.template.spec;
  const [{ args, volumeMounts }] = containers;
  const mounted = (name: string): string =>
    volumeMounts.find((mount: { name: string }) => mount.name === name)?.mountPath;
  expect(volumes.find(({ name }: { name: string }) => name === "certs-d").hostPath.type).toBe(
    "DirectoryOrCreate",
  );
  const parameters = (args as string[]).map((text) =>
    text
      .replace("$(NODE_NAME)", "worker-1")
      .replace("$(HOST_IP)", "192.0.2.7")
      .replace(mounted("certs-d"), node)
      .replace("/run/secrets", secrets),
  );
  const env = { PATH: process.env["PATH"] };
  return new Child(["src/main.ts", ...parameters], env);
}

withClient("helm", () => {
  it("writes what containerd reads, with the node's name, stays, and takes it back when it is ended", async () => {
    await mkdir(join(node, "corp.example"), { recursive: true });
    await writeFile(join(node, "corp.example/hosts.toml"), "server = 'https://corp.example'\n");
    const child = await agent(setups["nodes by NodePort"]);
    await child.line((line) => line.startsWith("staying"));
    const hosts = await readFile(join(node, "docker.io/hosts.toml"), "utf8");
    expect(hosts).toContain('server = "https://registry-1.docker.io"');
    expect(hosts).toContain('[host."http://192.0.2.7:31000"]');
    expect(hosts).toContain('X-Hubcap-Node = "worker-1"');
    expect(await readdir(node)).toContain("registry.k8s.io");
    child.kill("SIGTERM");
    expect(await child.exit).toEqual({ code: 0, signal: null });
    expect(await readdir(node)).toEqual(["corp.example"]);
  });

  it("hands on token, authority and that nodes may go nowhere else", async () => {
    const child = await agent(setups["nodes over TLS, with a token and no fallback"]);
    await child.line((line) => line.startsWith("staying"));
    const hosts = await readFile(join(node, "docker.io/hosts.toml"), "utf8");
    expect(hosts).toContain('server = "https://hubcap.example:5000"');
    expect(hosts).toContain('Authorization = "Bearer t0ken"');
    expect(await readdir(node)).toEqual(["docker.io", "hubcap-ca.crt"]);
    child.kill("SIGTERM");
    expect((await child.exit).code).toBe(0);
    expect(await readdir(node)).toEqual([]);
  });

  it("leaves a file alone that it did not write, and names it", async () => {
    await mkdir(join(node, "docker.io"), { recursive: true });
    await writeFile(join(node, "docker.io/hosts.toml"), "server = 'https://other.example'\n");
    const child = await agent(setups["nodes by NodePort"]);
    expect((await child.exit).code).toBe(1);
    expect(child.errors).toContain(`${node}/docker.io/hosts.toml was not written by hubcap client-config`);
    expect(await readFile(join(node, "docker.io/hosts.toml"), "utf8")).toContain("other.example");
    expect(await readdir(node)).toEqual(["docker.io"]);
  });
});
