/** Docker Engine with a data root, a socket and a bridge of its own. */
import { randomBytes, randomInt } from "node:crypto";
import { join } from "node:path";
import { requireClient, type Client } from "../clients.ts";
import { Daemon, run, sealed } from "./process.ts";
import type { Pulled } from "./pulled.ts";

export interface DockerOptions {
  /** A folder for everything, with a `daemon.json`. */
  readonly folder: string;
  /** Lets the engine take the storage driver that is best here. Otherwise it takes the one that works everywhere. */
  readonly bestStorage?: boolean;
}

function socketIn(folder: string): string {
  return `unix://${join(folder, "docker.sock")}`;
}

export class Docker {
  readonly #command: string;
  /** Where it listens, as a URL. */
  readonly socket: string;
  readonly #folder: string;
  readonly #bridge: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #daemon: Daemon;

  private constructor(
    command: string,
    folder: string,
    bridge: string,
    env: NodeJS.ProcessEnv,
    daemon: Daemon,
  ) {
    this.#command = command;
    this.#folder = folder;
    this.socket = socketIn(folder);
    this.#bridge = bridge;
    this.#env = env;
    this.#daemon = daemon;
  }

  static async start(client: Client, { folder, bestStorage = false }: DockerOptions): Promise<Docker> {
    const command = requireClient("docker").path;
    const env = sealed(folder);
    // An engine without a bridge removes docker0, and one without a network takes docker0's: another engine of this
    // machine may use it. 198.18.0.0/15 is for tests (RFC 2544), so no real network is in the way.
    const bridge = `hubcap-${randomBytes(3).toString("hex")}`;
    await run("ip", ["link", "add", "name", bridge, "type", "bridge"], env);
    try {
      await run("ip", ["address", "add", `198.18.${randomInt(256)}.1/24`, "dev", bridge], env);
      const daemon = await Daemon.start(
        client.path,
        [
          `--config-file=${join(folder, "daemon.json")}`,
          `--data-root=${join(folder, "data")}`,
          `--exec-root=${join(folder, "exec")}`,
          `--pidfile=${join(folder, "docker.pid")}`,
          `--host=${socketIn(folder)}`,
          `--bridge=${bridge}`,
          ...(bestStorage ? [] : ["--storage-driver=vfs"]),
          "--iptables=false",
          "--ip-forward=false",
          "--ip-masq=false",
        ],
        {
          env,
          log: join(folder, "dockerd.log"),
          ready: (log) => log.includes("API listen on"),
        },
      );
      return new Docker(command, folder, bridge, env, daemon);
    } catch (error) {
      await run("ip", ["link", "delete", bridge], env);
      throw error;
    }
  }

  async pull(reference: string): Promise<Pulled> {
    await this.#daemon.watch(this.run("pull", "--quiet", reference));
    const printed = await this.run(
      "image",
      "inspect",
      "--format",
      "{{.Id}} {{index .RepoDigests 0}}",
      reference,
    );
    const [image = "", repositoryDigest = ""] = printed.trim().split(" ");
    return { manifest: repositoryDigest.slice(repositoryDigest.indexOf("@") + 1), image };
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
    // Left behind once a container had the host's network, so that the folder could not be removed.
    await run("umount", [join(this.#folder, "exec/netns/default")], this.#env).catch(() => undefined);
    await run("ip", ["link", "delete", this.#bridge], this.#env);
  }

  /** Builds an image from the Dockerfile in a folder, with the host's network, and gives it a name. */
  async build(name: string, folder: string, ...options: string[]): Promise<void> {
    const parameters = ["build", "--network=host", "--progress=plain", "--tag", name, ...options, folder];
    const env = { ...this.#env, DOCKER_BUILDKIT: "1" };
    await this.#daemon.watch(run(this.#command, ["--host", this.socket, ...parameters], env, 5));
  }

  /** What a command of Docker's command line prints. */
  async run(...parameters: string[]): Promise<string> {
    return run(this.#command, ["--host", this.socket, ...parameters], this.#env);
  }
}
