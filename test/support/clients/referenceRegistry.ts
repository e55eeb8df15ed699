/** Debian's docker-registry, as an upstream that takes pushes or as the pull-through cache that Hubcap is compared with. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "../clients.ts";
import { Daemon, sealed } from "./process.ts";

export interface ReferenceRegistryOptions {
  /** An empty folder for everything. */
  readonly folder: string;
  /** Where it pulls through from; without it, it is an ordinary registry. */
  readonly upstream?: { readonly url: string; readonly username?: string; readonly password?: string };
}

export class ReferenceRegistry {
  /** Host and port. */
  readonly address: string;
  readonly #daemon: Daemon;

  private constructor(address: string, daemon: Daemon) {
    this.address = address;
    this.#daemon = daemon;
  }

  static async start(
    client: Client,
    { folder, upstream }: ReferenceRegistryOptions,
  ): Promise<ReferenceRegistry> {
    const configuration = {
      version: 0.1,
      log: { level: "info", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(folder, "registry") } },
      http: { addr: "127.0.0.1:0", secret: "for one test" },
      ...(upstream === undefined
        ? {}
        : {
            proxy: {
              remoteurl: upstream.url,
              username: upstream.username ?? "",
              password: upstream.password ?? "",
            },
          }),
    };
    // JSON is YAML.
    await writeFile(join(folder, "registry.yml"), JSON.stringify(configuration));
    const daemon = await Daemon.start(client.path, ["serve", join(folder, "registry.yml")], {
      env: sealed(folder),
      log: join(folder, "registry.log"),
      ready: (log) => addressIn(log) !== undefined,
    });
    return new ReferenceRegistry(addressIn(daemon.log) ?? "", daemon);
  }

  get url(): string {
    return `http://${this.address}`;
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
  }
}

function addressIn(log: string): string | undefined {
  return /listening on (?<address>127\.0\.0\.1:\d+)/.exec(log)?.groups?.["address"];
}
