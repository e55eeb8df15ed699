/** `hubcap client-config` as people run it: what it prints, writes, leaves alone and takes away again. */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { parse, parseDocument, type YAMLMap } from "yaml";
import { expect, onTestFinished, test } from "vitest";
import { shippedUpstreams } from "../../src/cli/input.ts";
import { makeAuthority } from "../support/certificates.ts";
import { entry, runHubcap } from "../support/run.ts";

const mirror = ["--mirror", "http://hubcap.example:5000"];
/** Tokens are not sent where they could be read on the way. */
const secure = ["--mirror", "https://hubcap.example:5000"];
const two = ["--upstream", "docker.io", "--upstream", "ghcr.io"];

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "hubcap-node-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function fileWith(text: string, name: string): string {
  const path = join(folder(), name);
  writeFileSync(path, text);
  return path;
}

/** All files below, by path. */
function filesIn(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
    .toSorted();
}

const clientConfig = (...args: string[]) => runHubcap(["client-config", ...args]);

test("prints the files with their places, for all upstreams of the shipped configuration", async () => {
  const { code, output } = await clientConfig("containerd", ...mirror);
  expect(code).toBe(0);
  const heads = [...output.matchAll(/^# (\S+), written by hubcap client-config$/gm)].map(([, path]) => path);
  expect(heads).toEqual(shippedUpstreams().map((host) => `/etc/containerd/certs.d/${host}/hosts.toml`));
  expect(heads).toHaveLength(9);
});

test("containerd: names the registry as the explicit fallback, the node, the token and the authority", async () => {
  const root = folder();
  const token = fileWith("s3cret\n", "token");
  const ca = fileWith(makeAuthority().cert, "ca.crt");
  const rest = ["--node", "worker-1", "--token-file", token, "--ca", ca, "--write", root];
  const { code } = await clientConfig("containerd", ...secure, ...two, ...rest);
  expect(code).toBe(0);
  expect(filesIn(root)).toEqual(["docker.io/hosts.toml", "ghcr.io/hosts.toml", "hubcap-ca.crt"]);
  const path = join(root, "docker.io/hosts.toml");
  expect(readFileSync(path, "utf8"))
    .toBe(`# /etc/containerd/certs.d/docker.io/hosts.toml, written by hubcap client-config
server = "https://registry-1.docker.io"

[host."https://hubcap.example:5000"]
capabilities = ["pull", "resolve"]
dial_timeout = "3s"
ca = "../hubcap-ca.crt"

[host."https://hubcap.example:5000".header]
X-Hubcap-Node = "worker-1"
Authorization = "Bearer s3cret"
`);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("k3s: what it prints has the structure of registries.yaml", async () => {
  const { output } = await clientConfig("k3s", ...mirror, ...two);
  const endpoint = { endpoint: ["http://hubcap.example:5000"] };
  expect(parse(output)).toEqual({ mirrors: { "docker.io": endpoint, "ghcr.io": endpoint } });
});

test("k3s: without fallback a second file sets the flag for it, and an authority is named under configs", async () => {
  const root = folder();
  const ca = fileWith(makeAuthority().cert, "ca.crt");
  const https = ["--mirror", "https://hubcap.example:5000"];
  await clientConfig("k3s", ...https, ...two, "--no-fallback", "--ca", ca, "--write", root);
  expect(filesIn(root)).toEqual(["config.yaml.d/50-hubcap.yaml", "hubcap-ca.crt", "registries.yaml"]);
  const flags = readFileSync(join(root, "config.yaml.d/50-hubcap.yaml"), "utf8");
  expect(parse(flags)).toEqual({ "disable-default-registry-endpoint": true });
  const { configs } = parse(readFileSync(join(root, "registries.yaml"), "utf8")) as { configs: unknown };
  expect(configs).toEqual({ "hubcap.example:5000": { tls: { ca_file: "/etc/rancher/k3s/hubcap-ca.crt" } } });
});

test("talos: what it prints has the structure of machine.registries", async () => {
  const { cert } = makeAuthority();
  const ca = ["--ca", fileWith(cert, "ca.crt")];
  const { output } = await clientConfig(
    "talos",
    "--mirror",
    "https://hubcap.example:5000",
    "--upstream",
    "ghcr.io",
    "--no-fallback",
    ...ca,
  );
  expect(parse(output)).toEqual({
    machine: {
      registries: {
        mirrors: { "ghcr.io": { endpoints: ["https://hubcap.example:5000"], skipFallback: true } },
        config: { "hubcap.example:5000": { tls: { ca: Buffer.from(cert).toString("base64") } } },
      },
    },
  });
});

test("buildkit: what it prints has the structure of buildkitd.toml", async () => {
  const { output } = await clientConfig("buildkit", ...mirror, ...two);
  expect(output).toBe(`# /etc/buildkit/buildkitd.toml, written by hubcap client-config
[registry."docker.io"]
mirrors = ["hubcap.example:5000"]

[registry."ghcr.io"]
mirrors = ["hubcap.example:5000"]

[registry."hubcap.example:5000"]
http = true
`);
});

test("docker: prints one JSON document, and says what Docker cannot mirror", async () => {
  const { code, output, errors } = await clientConfig("docker", ...mirror);
  expect(code).toBe(0);
  expect(JSON.parse(output)).toEqual({
    labels: ["hubcap=client-config"],
    "registry-mirrors": ["http://hubcap.example:5000"],
  });
  expect(errors).toContain(
    "Docker Engine mirrors docker.io only; images of other registries are pulled from there",
  );
});

test.each([
  [
    "no runtime",
    [],
    "client-config takes one of containerd, crio, podman, docker, buildkit, k3s, rke2, talos",
  ],
  ["an unknown runtime", ["rkt", ...mirror], "client-config takes one of"],
  ["no mirror", ["containerd"], "--mirror takes the address"],
  ["a mirror with a path", ["containerd", "--mirror", "http://hubcap.example/v2"], "without a path"],
  [
    "a mirror that is no URL",
    ["containerd", "--mirror", "hubcap.example:5000"],
    "--mirror takes the address",
  ],
  [
    "a host that is a path",
    ["containerd", ...mirror, "--upstream", "../etc"],
    "--upstream takes a source host",
  ],
  ["a node that is no name", ["containerd", ...mirror, "--node", 'a"b'], "--node takes a node's name"],
  [
    "another registry for Docker",
    ["docker", ...mirror, "--upstream", "ghcr.io"],
    "docker asks mirrors for docker.io only",
  ],
  ["no fallback for Docker", ["docker", ...mirror, "--no-fallback"], "always goes to Docker Hub"],
  ["no fallback for BuildKit", ["buildkit", ...mirror, "--no-fallback"], "always goes to the registry"],
  ["a node's name for podman", ["podman", ...mirror, "--node", "a"], "podman sends mirrors no header"],
  [
    "a token for k3s",
    ["k3s", ...mirror, "--token-file", "/dev/null"],
    "--token-file /dev/null does not hold",
  ],
  ["a token file that is not there", ["containerd", ...mirror, "--token-file", "/nowhere"], "cannot be read"],
  [
    "an authority that is none",
    ["containerd", ...mirror, "--ca", "/dev/null"],
    "does not hold a certificate",
  ],
  ["--remove without a folder", ["containerd", "--remove"], "--remove and --stay need --write DIR"],
])("%s ends with 2 and one line", async (_what, args, reason) => {
  const { code, output, errors } = await clientConfig(...args);
  expect([code, output]).toEqual([2, ""]);
  expect(errors).toMatch(/^hubcap: [^\n]+\n$/);
  expect(errors).toContain(reason);
});

test.each([
  ["podman", "log in: podman login hubcap.example:5000"],
  ["docker", "let it in by its network"],
  ["buildkit", "who builds logs in: docker login hubcap.example:5000"],
])("a token for %s, which cannot show it, ends with 2 and what to do instead", async (runtime, instead) => {
  const token = fileWith("s3cret", "token");
  const { code, errors } = await clientConfig(runtime, ...secure, "--token-file", token);
  expect([code, errors]).toEqual([
    2,
    `hubcap: ${runtime} takes no token from its files, so --token-file has no meaning: ${instead}. See hubcap client-config --help\n`,
  ]);
});

test.each([
  ["k3s", "registries.yaml", ["configs"]],
  ["rke2", "registries.yaml", ["configs"]],
  ["talos", "hubcap-talos.yaml", ["machine", "registries", "config"]],
])("%s: a token is a password, in a file for its owner alone", async (runtime, name, path) => {
  const root = folder();
  const token = fileWith("s3cret\n", "token");
  await clientConfig(runtime, ...secure, ...two, "--token-file", token, "--write", root);
  expect(statSync(join(root, name)).mode & 0o777).toBe(0o600);
  const configs = parseDocument(readFileSync(join(root, name), "utf8")).getIn(path) as YAMLMap;
  expect(configs.toJSON()).toEqual({
    "hubcap.example:5000": { auth: { username: "token", password: "s3cret" } },
  });
});

test("writes once, keeps what is right, drops what is no longer wished, and removes only what is its own", async () => {
  const root = folder();
  mkdirSync(join(root, "harbor.example"));
  writeFileSync(join(root, "harbor.example/hosts.toml"), 'server = "https://harbor.example"\n');
  const hub = join(root, "docker.io/hosts.toml");
  const other = join(root, "ghcr.io/hosts.toml");

  const first = await clientConfig("containerd", ...mirror, ...two, "--write", root);
  expect(first.output).toBe(`wrote ${hub}\nwrote ${other}\n`);
  const second = await clientConfig("containerd", ...mirror, "--upstream", "docker.io", "--write", root);
  expect(second.output).toBe(`kept ${hub}\nremoved ${other}\n`);
  const removed = await clientConfig("containerd", "--write", root, "--remove");
  expect(removed.output).toBe(`removed ${hub}\n`);
  expect(filesIn(root)).toEqual(["harbor.example/hosts.toml"]);
  expect(readdirSync(root)).toEqual(["harbor.example"]);

  const again = await clientConfig("containerd", "--write", root, "--remove");
  expect(again).toMatchObject({
    code: 0,
    output: `nothing below ${root} was written by hubcap client-config\n`,
  });
});

test.each([
  ["containerd", "docker.io/hosts.toml", 'server = "https://registry-1.docker.io"\n'],
  ["docker", "daemon.json", '{ "registry-mirrors": ["http://another:5000"] }\n'],
  ["k3s", "registries.yaml", "mirrors: {}\n"],
])("%s: a file of somebody else stays as it is, and nothing is written", async (runtime, name, text) => {
  const root = folder();
  const path = join(root, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, text);
  const { code, output, errors } = await clientConfig(runtime, ...mirror, "--write", root);
  expect([code, output]).toEqual([1, ""]);
  expect(errors).toMatch(/^hubcap: [^\n]+\n$/);
  expect(errors).toContain(
    `${path} was not written by hubcap client-config and is left as it is: move it away`,
  );
  expect(filesIn(root)).toEqual([name]);
  await clientConfig(runtime, "--write", root, "--remove");
  expect(readFileSync(path, "utf8")).toBe(text);
});

test.each(["containerd", "crio", "podman", "docker", "buildkit", "k3s", "rke2", "talos"])(
  "%s: all that is written is removed, the authority too",
  async (runtime) => {
    const root = folder();
    const ca = fileWith(makeAuthority().cert, "ca.crt");
    const https = ["--mirror", "https://hubcap.example:5000", "--ca", ca, "--write", root];
    expect(await clientConfig(runtime, ...https)).toMatchObject({ code: 0 });
    expect(filesIn(root)).not.toEqual([]);
    expect(await clientConfig(runtime, "--write", root, "--remove")).toMatchObject({ code: 0 });
    expect(readdirSync(root)).toEqual([]);
  },
);

test("a folder that cannot be made is said in one line, also where the system never says no for good", async () => {
  const { code, output, errors } = await clientConfig(
    "containerd",
    ...mirror,
    "--write",
    "/proc/hubcap/certs.d",
  );
  expect([code, output]).toEqual([1, ""]);
  expect(errors).toMatch(
    /^hubcap: the files below \/proc\/hubcap\/certs\.d cannot be changed: ENOENT[^\n]+\n$/,
  );
});

test("--stay keeps the files until SIGTERM", async () => {
  const root = folder();
  const args = [entry, "client-config", "containerd", ...mirror, ...two, "--write", root, "--stay"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  for await (const piece of child.stdout as AsyncIterable<Buffer>) {
    output += piece.toString();
    if (output.includes("staying")) break;
  }
  expect(filesIn(root)).toEqual(["docker.io/hosts.toml", "ghcr.io/hosts.toml"]);
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  expect(await exit).toEqual([0, null]);
  expect(readdirSync(root)).toEqual([]);
});
