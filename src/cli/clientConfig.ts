/** `hubcap client-config`: the files that make a container runtime pull through this mirror. */
import { canonicalHost, sourceHostGrammar } from "../oci/target.ts";
import { isLoopback } from "./doctor/proxy.ts";
import { shippedUpstreams, parseOrigin, readText } from "./input.ts";
import { UsageError } from "./exit.ts";
import { removeFiles, writeFiles, type FileChange } from "./nodeFiles.ts";
import { placeOf, type Runtime, type ClientSettings } from "./runtimes/clientSettings.ts";
import { buildkit } from "./runtimes/buildkit.ts";
import { containerd } from "./runtimes/containerd.ts";
import { docker } from "./runtimes/docker.ts";
import { k3s, rke2 } from "./runtimes/k3s.ts";
import { crio, podman } from "./runtimes/podman.ts";
import { talos } from "./runtimes/talos.ts";

/** The command's options as they were given. */
export interface ClientConfigOptions {
  readonly mirror?: string | undefined;
  readonly upstream?: readonly string[] | undefined;
  readonly noFallback?: boolean | undefined;
  readonly node?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly ca?: string | undefined;
  readonly write?: string | undefined;
  readonly remove?: boolean | undefined;
  readonly stay?: boolean | undefined;
}

const help = "See hubcap client-config --help";

/** Prints the files, writes them, or removes them. @throws UsageError; Error when a file cannot be written or is not ours. */
export async function clientConfig(names: readonly string[], options: ClientConfigOptions): Promise<void> {
  const { write: folder } = options;
  const [name = ""] = names;
  const runtime = runtimes.get(name);
  if (!runtime || names.length !== 1) {
    throw new UsageError(`client-config takes one of ${[...runtimes.keys()].join(", ")}. ${help}`);
  }
  if (folder === undefined && (options.remove || options.stay)) {
    throw new UsageError(`--remove and --stay need --write DIR. ${help}`);
  }
  if (options.remove && folder !== undefined) return remove(runtime, folder);
  const client = readClientSettings(name, options);
  const reason = runtime.cannot(client);
  if (reason !== undefined) throw new UsageError(`${name} ${reason}. ${help}`);
  if (folder === undefined) print(runtime, client);
  else await write(runtime, client, folder, options.stay ?? false);
}

function print(runtime: Runtime, client: ClientSettings): void {
  for (const { path, text } of runtime.files(client)) {
    // JSON takes no comment, and what is printed shall be the file.
    if (!text.startsWith("#")) console.error(`# ${placeOf(runtime.folder, path)}`);
    console.log(text.trimEnd());
  }
  for (const line of runtime.advice(client)) console.error(`# ${line}`);
}

async function write(runtime: Runtime, client: ClientSettings, folder: string, stay: boolean): Promise<void> {
  // Listening comes first: whoever ends us while we write wants the files gone, too.
  const ended = stay ? endAsked() : undefined;
  tell(await done(folder, writeFiles(runtime, folder, runtime.files(client), client.token)), folder);
  for (const line of runtime.advice(client)) console.log(line);
  if (!ended) return;
  console.log("staying until SIGTERM, then removing what was written");
  // A signal keeps no process alive; a timer does.
  const alive = setInterval(() => undefined, 2 ** 30);
  await ended;
  clearInterval(alive);
  await remove(runtime, folder);
}

async function remove(runtime: Runtime, folder: string): Promise<void> {
  tell(await done(folder, removeFiles(runtime, folder)), folder);
}

/** What was done, or one line that says where it failed: the system's own words name no folder that was given. */
async function done(folder: string, work: Promise<FileChange[]>): Promise<FileChange[]> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    throw new Error(`the files below ${folder} cannot be changed: ${error.message}`, { cause: error });
  }
}

function tell(changes: readonly FileChange[], folder: string): void {
  for (const { change, path } of changes) console.log(`${change} ${path}`);
  if (changes.length === 0) console.log(`nothing below ${folder} was written by hubcap client-config`);
}

function endAsked(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGTERM", resolve).once("SIGINT", resolve);
  });
}

function readClientSettings(runtime: string, options: ClientConfigOptions): ClientSettings {
  const { upstream, node, tokenFile, ca, noFallback } = options;
  if (node !== undefined && !/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(node)) {
    throw new UsageError(`--node takes a node's name as Kubernetes writes it, such as worker-1. ${help}`);
  }
  const mirror = readMirror(options.mirror);
  const upstreams = upstream ?? (runtime === "docker" ? ["docker.io"] : shippedUpstreams());
  return {
    mirror,
    upstreams: [...new Set(upstreams.map(readHost))],
    fallback: !(noFallback ?? false),
    ...(node !== undefined && { node }),
    ...(tokenFile !== undefined && { token: readToken(tokenFile, mirror) }),
    ...(ca !== undefined && { ca: readAuthority(ca) }),
  };
}

function readMirror(text: string | undefined): URL {
  const url = text === undefined ? undefined : parseOrigin(text);
  if (url) return url;
  throw new UsageError(
    `--mirror takes the address of Hubcap's registry listener without a path, such as http://hubcap.example:5000. ${help}`,
  );
}

/** It becomes the name of a folder. */
function readHost(text: string): string {
  const host = canonicalHost(text);
  if (sourceHostGrammar.test(host)) return host;
  throw new UsageError(`--upstream takes a source host, such as ghcr.io or harbor.example.com:8443. ${help}`);
}

function readToken(file: string, mirror: URL): string {
  const token = readText("--token-file", file).trim();
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new UsageError(`--token-file ${file} does not hold one token of visible characters`);
  if (mirror.protocol === "https:" || isLoopback(mirror)) return token;
  throw new UsageError(
    `--token-file needs a --mirror with https://: whatever is on the way to ${mirror.origin} could read the token. ` +
      `Give Hubcap's registry listener a certificate (docs/security.md). ${help}`,
  );
}

function readAuthority(file: string): string {
  const text = readText("--ca", file);
  if (text.includes("-----BEGIN CERTIFICATE-----")) return `${text.trimEnd()}\n`;
  throw new UsageError(`--ca ${file} does not hold a certificate in PEM`);
}

export const runtimes: ReadonlyMap<string, Runtime> = new Map(
  Object.entries({ containerd, crio, podman, docker, buildkit, k3s, rke2, talos }),
);
