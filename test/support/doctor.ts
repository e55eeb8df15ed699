/** `hubcap doctor` in tests: its diagnosis, and the servers and files that it is asked about. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, vi } from "vitest";
import { stringify } from "yaml";
import type { Given } from "../../src/cli/commands.ts";
import type { Diagnosis } from "../../src/cli/doctor/diagnose.ts";
import { doctor } from "../../src/cli/doctor/doctor.ts";
import { readLine } from "../../src/cli/line.ts";
import { startHub, type Hub, type HubOptions } from "./hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "./hubcap.ts";
import { buildImage } from "./images.ts";

/** The codes of all verdicts so far. */
export const verdictsSeen = new Set<string>();

/** Gives a stand-in `repository:1`, for two platforms, and `repository:1.29`. */
export async function push(to: Hub, repository: string): Promise<void> {
  const seed = { seed: repository, sharedLayers: 1, layers: 2 };
  to.push(await buildImage({ ...seed, platforms: ["linux/amd64", "linux/arm64"] }), repository, "1");
  to.push(await buildImage(seed), repository, "1.29");
}

/** A stand-in for the test that runs now, with `library/app`. */
export async function hubWith(options: HubOptions): Promise<Hub> {
  const hub = await startHub(options);
  onTestFinished(() => hub.stop());
  await push(hub, "library/app");
  return hub;
}

/** A Hubcap for the test that runs now, in front of a stand-in. */
export async function frontOf(
  hub: Hub,
  settings: object = {},
  storage: object = {},
  more: object = {},
): Promise<Hubcap> {
  const config = { upstreams: { "docker.io": upstreamOf(hub, settings) }, storage, ...more };
  const hubcap = await startHubcap({ config });
  onTestFinished(() => hubcap.dispose());
  return hubcap;
}

/** A configuration file with these upstreams. */
export function configWith(upstreams: object): string {
  const folder = mkdtempSync(join(tmpdir(), "hubcap-doctor-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "hubcap.yaml");
  writeFileSync(file, stringify({ upstreams, storage: { root: folder } }));
  return file;
}

/** A file with this text. */
export function fileWith(text: string): string {
  const file = configWith({});
  writeFileSync(file, text);
  return file;
}

/** A command line, and the environment that it runs in. */
export interface Case {
  readonly env?: Readonly<Record<string, string>>;
  readonly args: readonly string[];
}

/** Runs the command, in this process because there are many, and reads the JSON that it prints. */
export async function diagnose({ args, env = {} }: Case): Promise<Diagnosis> {
  for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]) {
    vi.stubEnv(name, env[name] ?? "").stubEnv(name.toLowerCase(), "");
  }
  const print = vi.spyOn(console, "log").mockReturnValue();
  try {
    const line = readLine(["doctor", "--json", ...args]);
    if (line.kind !== "run") throw new Error("that is no command line of doctor");
    const { values, positionals } = line.given as Given<"doctor">;
    const works = await doctor(positionals, { ...values, tokenFile: values["token-file"] });
    const diagnosis = JSON.parse(String(print.mock.lastCall?.[0])) as Diagnosis;
    verdictsSeen.add(diagnosis.verdict.code);
    expect(diagnosis.verdict.sentence).toMatch(/^[^\n]+\.$/);
    expect(diagnosis.works).toBe(works);
    return diagnosis;
  } finally {
    print.mockRestore();
    vi.unstubAllEnvs();
  }
}

/** The code of the verdict, and its sentence, for cases in which the pull would fail. */
export async function failure(...args: string[]): Promise<[string, string]> {
  const { verdict, works } = await diagnose({ args });
  expect(works).toBe(false);
  return [verdict.code, verdict.sentence];
}

/** A server that is no registry; its address. */
export async function serve(answer: RequestListener, tls?: ServerOptions): Promise<URL> {
  const server = tls ? createTlsServer(tls, answer) : createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return new URL(`${tls ? "https" : "http"}://localhost:${(server.address() as AddressInfo).port}`);
}
