/** containerd with a root, a state and a socket of its own: pulls as `ctr` asks for them and as a kubelet does. */
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Client } from "../clients.ts";
import { pullImage } from "./cri.ts";
import { Daemon, run, sealed } from "./process.ts";
import { imageIdOf, platform, type Pulled } from "./pulled.ts";

export interface ContainerdOptions {
  /** A folder for everything, with a file for each registry below `certs.d`. */
  readonly folder: string;
  /** Bytes of the pieces that a layer is fetched in, several at once (containerd 2.1 and newer). Default: in one piece. */
  readonly layerPieces?: number;
}

export class Containerd {
  readonly #ctr: string;
  readonly #folder: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #daemon: Daemon;

  private constructor(ctr: string, folder: string, env: NodeJS.ProcessEnv, daemon: Daemon) {
    this.#ctr = ctr;
    this.#folder = folder;
    this.#env = env;
    this.#daemon = daemon;
  }

  static async start(client: Client, options: ContainerdOptions): Promise<Containerd> {
    const { folder } = options;
    await writeFile(join(folder, "config.toml"), configOf(client, options));
    const env = sealed(folder);
    const ctr = join(dirname(client.path), "ctr");
    const daemon = await Daemon.start(client.path, ["-c", join(folder, "config.toml")], {
      env,
      log: join(folder, "containerd.log"),
      ready: () =>
        run(ctr, ["-a", join(folder, "c.sock"), "version"], env).then(
          () => true,
          () => false,
        ),
    });
    return new Containerd(ctr, folder, env, daemon);
  }

  /** `ctr images pull`, whose hosts come from the command line. */
  async pull(reference: string): Promise<Pulled> {
    const hosts = join(this.#folder, "certs.d");
    await this.#daemon.watch(
      this.#run("default", "images", "pull", "--snapshotter", "native", "--hosts-dir", hosts, reference),
    );
    const manifest = await this.#digestOf("default", reference);
    const image = await imageIdOf(manifest, (digest) => this.#run("default", "content", "get", digest));
    return { manifest, image };
  }

  /** The pull of a kubelet, whose hosts come from the CRI plugin's `config_path`. */
  async pullForKubelet(reference: string): Promise<Pulled> {
    const image = await this.#daemon.watch(pullImage(join(this.#folder, "c.sock"), reference));
    return { manifest: await this.#digestOf("k8s.io", reference), image };
  }

  async stop(): Promise<void> {
    await this.#daemon.stop();
  }

  async #digestOf(namespace: string, reference: string): Promise<string> {
    const listed = await this.#run(namespace, "images", "ls", `name==${reference}`);
    const digest = /sha256:[0-9a-f]{64}/.exec(listed)?.[0];
    if (digest === undefined) {
      throw new Error(`containerd does not hold ${reference}:\n${listed}`);
    }
    return digest;
  }

  async #run(namespace: string, ...parameters: string[]): Promise<string> {
    return run(this.#ctr, ["-a", join(this.#folder, "c.sock"), "-n", namespace, ...parameters], this.#env);
  }
}

/** The native snapshotter copies files, which works on every file system; overlay would need the right one. */
function configOf(client: Client, { folder, layerPieces = 0 }: ContainerdOptions): string {
  const common = `root = "${folder}/root"
state = "${folder}/state"
[grpc]
  address = "${folder}/c.sock"
[ttrpc]
  address = "${folder}/c.sock.ttrpc"
`;
  return client.version.startsWith("1.")
    ? `version = 2
${common}
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "${folder}/certs.d"
`
    : `version = 3
${common}
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "native"
  concurrent_layer_fetch_buffer = ${layerPieces}
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "${folder}/certs.d"
[plugins."io.containerd.transfer.v1.local"]
  concurrent_layer_fetch_buffer = ${layerPieces}
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "${platform}"
  snapshotter = "native"
`;
}
