/** The real programs that Hubcap is tested with: where they are, what version, and what follows when one is missing. */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe } from "vitest";
import { missing } from "./missing.ts";

/** A program of this machine. `path` is absolute. */
export interface Client {
  readonly name: ClientName;
  readonly path: string;
  readonly version: string;
}

interface Program {
  /** The package that .ci/install unpacks or builds; without it, the program is one of Debian's own release. */
  readonly unpacked?: string;
  /** What makes it tell its version. Default `--version`; unpacked programs have a file that tells it. */
  readonly versionOption?: string;
  readonly needsRoot?: boolean;
}

export type ClientName =
  | "buildctl"
  | "buildkitd"
  | "chromium"
  | "conformance"
  | "containerd"
  | "containerd-2"
  | "cosign"
  | "crane"
  | "docker"
  | "docker-registry"
  | "dockerd"
  | "helm"
  | "kubectl-validate"
  | "nginx"
  | "openssl"
  | "oras"
  | "podman"
  | "promtool"
  | "skopeo";

/** Where .ci/install puts what Debian's own release does not have. */
export const tools = process.env["HUBCAP_TOOLS"] ?? "/usr/local/lib/hubcap-tools";

const programs: Readonly<Record<ClientName, Program>> = {
  buildctl: { unpacked: "buildkit" },
  buildkitd: { unpacked: "buildkit", needsRoot: true },
  chromium: {},
  conformance: { unpacked: "conformance" },
  containerd: { needsRoot: true },
  "containerd-2": { unpacked: "containerd", needsRoot: true },
  cosign: { unpacked: "cosign" },
  crane: { unpacked: "crane" },
  docker: {},
  "docker-registry": { unpacked: "docker-registry" },
  dockerd: { needsRoot: true },
  helm: { unpacked: "helm" },
  "kubectl-validate": { unpacked: "kubectl-validate" },
  nginx: { versionOption: "-v" },
  openssl: { versionOption: "version" },
  oras: { unpacked: "oras" },
  podman: { needsRoot: true },
  promtool: { unpacked: "promtool" },
  skopeo: {},
};

const found = new Map<ClientName, Client | string>();

/** The program, or why it cannot be used here. */
export function client(name: ClientName): Client | string {
  const known = found.get(name) ?? find(name, programs[name]);
  found.set(name, known);
  return known;
}

/** The program that a test cannot do without. Throws when it is missing. */
export function requireClient(name: ClientName): Client {
  const known = client(name);
  if (typeof known === "string") {
    throw new Error(known);
  }
  return known;
}

function find(name: ClientName, { unpacked, versionOption, needsRoot }: Program): Client | string {
  if (needsRoot === true && process.getuid?.() !== 0) {
    return `${name} needs root`;
  }
  const path =
    unpacked === undefined
      ? locate(name)
      : join(tools, unpacked, "usr/bin", unpacked === "buildkit" ? name : unpacked);
  if (path === undefined || !isProgram(path)) {
    return `${name} is missing: .ci/install installs it`;
  }
  const version =
    unpacked === undefined
      ? /\d+\.\d+\.\d+/.exec(versionTold(path, versionOption ?? "--version"))?.[0]
      : readFileSync(join(tools, unpacked, "version"), "utf8").trim();
  return version === undefined ? `${path} does not tell its version` : { name, path, version };
}

function versionTold(path: string, parameter: string): string {
  const { stdout, stderr } = spawnSync(path, [parameter], { encoding: "utf8" });
  return stdout + stderr;
}

/** Debian's folders come before the rest of PATH: an engine and its command line must be of one release. */
function locate(name: string): string | undefined {
  const folders = ["/usr/bin", "/usr/sbin", ...(process.env["PATH"] ?? "").split(":")];
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Tests that run a real program, if it is there. Starting and pulling takes longer than an ordinary test is given. */
export function withClient(name: ClientName, tests: (client: Client) => void): void {
  const known = client(name);
  describe(`${name} ${typeof known === "string" ? "" : known.version}`, { timeout: 120_000 }, () => {
    if (typeof known === "string") missing(known);
    else tests(known);
  });
}
