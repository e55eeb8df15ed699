/** Debian's docker-registry, filled beforehand or as the pull-through cache that Hubcap is compared with. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireClient } from "../../support/clients.ts";
import { run, sealed } from "../../support/clients/process.ts";
import { ReferenceRegistry, type ReferenceRegistryOptions } from "../../support/clients/referenceRegistry.ts";
import type { HubProcess } from "../../support/hubProcess.ts";
import { repositories, tag } from "../goods.ts";
import type { Server } from "./server.ts";

type Upstream = NonNullable<ReferenceRegistryOptions["upstream"]>;

interface Started extends Server {
  readonly folder: string;
}

/** Starts one as a pull-through cache of the stand-in, with empty storage. */
export function startProxyRegistry({ addresses }: HubProcess): Promise<Server> {
  return start({ url: addresses.registry });
}

/** Starts one, under `started`, and copies the goods into it. */
export async function startFilledRegistry(
  { addresses }: HubProcess,
  started: (start: () => Promise<Started>) => Promise<Started>,
): Promise<Server> {
  const crane = requireClient("crane");
  const server = await started(() => start());
  const [from, to] = [new URL(addresses.registry).host, new URL(server.url).host];
  for (const repository of Object.values(repositories)) {
    const copy = ["copy", `${from}/${repository}:${tag}`, `${to}/${repository}:${tag}`];
    await run(crane.path, copy, sealed(server.folder));
  }
  return server;
}

async function start(upstream?: Upstream): Promise<Started> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-bench-"));
  const registry = await ReferenceRegistry.start(requireClient("docker-registry"), {
    folder,
    ...(upstream && { upstream }),
  });
  return {
    name: "docker-registry",
    url: registry.url,
    folder,
    async [Symbol.asyncDispose]() {
      await registry.stop();
      await rm(folder, { recursive: true });
    },
  };
}
