/** Docker Engine with Hubcap's image, built by the Dockerfile as operators build it. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Client } from "../support/clients.ts";
import { Docker } from "../support/clients/docker.ts";
import { run } from "../support/clients/process.ts";
import { npmSettings, writeBase } from "./baseImage.ts";

/** The name of the image. */
export const image = "hubcap:test";

const base = "hubcap-base:test";
const top = fileURLToPath(new URL("../..", import.meta.url));

/** An engine that has the image. testcontainers of this process uses it from then on. */
export async function startEngine(client: Client): Promise<{ docker: Docker; stop: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-image-"));
  await writeFile(join(folder, "daemon.json"), "{}");
  const docker = await Docker.start(client, { folder, bestStorage: true });
  const stop = async (): Promise<void> => {
    await docker.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    process.env["DOCKER_HOST"] = docker.socket;
    // Its image would have to be pulled, and what is started here ends with the engine anyway.
    process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
    await importBase(docker, folder);
    await writeFile(join(folder, "npmrc"), npmSettings());
    await docker.build(
      image,
      top,
      `--build-arg=NODE_IMAGE=${base}`,
      `--build-arg=REVISION=test`,
      `--secret=id=npmrc,src=${join(folder, "npmrc")}`,
    );
    return { docker, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function importBase(docker: Docker, folder: string): Promise<void> {
  const root = join(folder, "base");
  await mkdir(root);
  writeBase(root);
  const archive = join(folder, "base.tar");
  await run("tar", ["-C", root, "--owner=0", "--group=0", "-cf", archive, "."], process.env);
  const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  await docker.run("import", `--change=ENV PATH=${path}`, archive, base);
}
