/** Hubcap in front of the stand-in, as it is configured by default but for its log, which goes to a file. */
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startHubcap, type Hubcap } from "../../support/hubcap.ts";
import type { HubProcess } from "../../support/hubProcess.ts";
import { Connection } from "../load/connection.ts";
import type { Server } from "./server.ts";

export class HubcapServer implements Server {
  readonly name = "Hubcap";
  readonly #hubcap: Hubcap;

  constructor(hubcap: Hubcap) {
    this.#hubcap = hubcap;
  }

  get url(): string {
    return this.#hubcap.url;
  }

  /** The file that holds a blob. */
  fileOf(digest: string): string {
    const hex = digest.slice("sha256:".length);
    return join(this.#hubcap.root, "blobs/sha256", hex.slice(0, 2), hex);
  }

  /**
   * Resolves when a blob that was pulled is served from its own file: a fill is not over when its last reader has all bytes,
   * and while it runs, readers read from it. Rejects when it is not over within 30 s.
   */
  async holds(path: string): Promise<void> {
    const hits = (): Promise<number> =>
      this.#hubcap.metric("hubcap_requests_total", { kind: "blob", outcome: "hit" });
    await using connection = await Connection.open(this.url);
    const deadline = performance.now() + 30_000;
    for (const before = await hits(); (await hits()) === before; await wait(20)) {
      if (performance.now() > deadline) throw new Error(`Hubcap does not hold ${path} after 30 s`);
      await connection.ask("HEAD", path);
    }
  }

  /** Ends the process and starts it anew; how many milliseconds passed from its start until it was ready. */
  async restart(): Promise<number> {
    await this.#hubcap.stop();
    const started = performance.now();
    await this.#hubcap.start();
    return performance.now() - started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // In good order, since a profile is written at the end.
    await this.#hubcap.stop();
    await this.#hubcap.dispose();
  }
}

/** Starts one with empty storage. */
export async function startHubcapServer(
  { addresses }: HubProcess,
  nodeArgs: readonly string[],
  workers = 1,
): Promise<HubcapServer> {
  const upstream = {
    url: addresses.registry,
    tokenRealms: [addresses.token],
    allowPrivateAddresses: true,
  };
  return new HubcapServer(
    await startHubcap({
      config: { workers, upstreams: { "docker.io": upstream } },
      nodeArgs: [...nodeArgs, "--import", fileURLToPath(new URL("logToFile.ts", import.meta.url))],
    }),
  );
}
