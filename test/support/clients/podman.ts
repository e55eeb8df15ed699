/** podman with a storage of its own. CRI-O pulls with the same library and the same files. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "../clients.ts";
import { run, sealed } from "./process.ts";
import type { Pulled } from "./pulled.ts";

export interface PodmanOptions {
  /** A folder for everything, which is the home of who runs it: `.config/containers` names the mirrors. */
  readonly folder: string;
}

export class Podman {
  readonly #client: Client;
  readonly #folder: string;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(client: Client, folder: string) {
    this.#client = client;
    this.#folder = folder;
    this.#env = sealed(folder, {
      CONTAINERS_CONF: join(folder, "containers.conf"),
      CONTAINERS_STORAGE_CONF: join(folder, "storage.conf"),
      XDG_RUNTIME_DIR: join(folder, "runtime"),
    });
  }

  static async prepare(client: Client, { folder }: PodmanOptions): Promise<Podman> {
    await mkdir(join(folder, "runtime"), { recursive: true });
    await writeFile(join(folder, "policy.json"), '{ "default": [{ "type": "insecureAcceptAnything" }] }');
    await writeFile(
      join(folder, "storage.conf"),
      `[storage]\ndriver = "vfs"\ngraphroot = "${folder}/root"\nrunroot = "${folder}/run"\n`,
    );
    await writeFile(
      join(folder, "containers.conf"),
      `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nlock_type = "file"\ntmp_dir = "${folder}/tmp"\n`,
    );
    return new Podman(client, folder);
  }

  async pull(reference: string): Promise<Pulled> {
    const policy = join(this.#folder, "policy.json");
    await run(this.#client.path, ["pull", "--quiet", "--signature-policy", policy, reference], this.#env);
    const printed = await run(
      this.#client.path,
      ["image", "inspect", "--format", "{{.Id}} {{.Digest}}", reference],
      this.#env,
    );
    const [image = "", manifest = ""] = printed.trim().split(" ");
    return { manifest, image: `sha256:${image}` };
  }
}
