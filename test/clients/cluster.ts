/** What the clients' tests stand in: a Docker Hub stand-in with images, and Hubcap in front of it with the one account. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { explained } from "../support/clients/process.ts";
import { platform, type Pulled } from "../support/clients/pulled.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { buildImage, type Image } from "../support/images.ts";
import { startHubcap, upstreamOf, type LogLine } from "../support/hubcap.ts";

const account = "cluster";

export interface Setup {
  readonly hub: Hub;
  /** Host and port of Hubcap. */
  readonly address: string;
  /** The outcome of a pull; its failure tells what Hubcap logged last. */
  watch<T>(pull: Promise<T>): Promise<T>;
  /** What Hubcap has logged. */
  logs(): LogLine[];
  close(): Promise<void>;
}

/** Opens a setup. `others` are further upstreams: the source host, and where it really answers. */
export async function openSetup(others: Readonly<Record<string, string>> = {}): Promise<Setup> {
  const password = "a secret of the cluster";
  const hub = await startHub({ accounts: { [account]: { password } } });
  const hubcap = await startHubcap({
    config: {
      upstreams: {
        "docker.io": upstreamOf(hub, { credential: { username: account, password } }),
        ...Object.fromEntries(
          Object.entries(others).map(([host, url]) => [host, { url, allowPrivateAddresses: true }]),
        ),
      },
    },
  });
  return {
    hub,
    address: new URL(hubcap.url).host,
    logs: () => hubcap.logs(),
    watch: (pull) => explained(pull, "Hubcap's log", () => hubcap.logs().map((line) => JSON.stringify(line))),
    async close() {
      await hubcap.dispose();
      await hub.stop();
    },
  };
}

/** An image for two platforms, in either of the forms that registries hold. OCI images bring BuildKit's attestations. */
export async function pushImage(hub: Hub, repository: string, type: "oci" | "docker"): Promise<Image> {
  const image = await buildImage({ seed: repository, type, attestations: type === "oci", sharedLayers: 1 });
  hub.push(image, repository, "1");
  return image;
}

/** What a client must hold after it has pulled an image. */
export function whole(image: Image): Pulled {
  return { manifest: image.root.digest, image: image.platforms.get(platform)?.config.digest ?? "" };
}

/** What manifests cost: how often each was paid for, and by whom. */
export function paid(hub: Hub): { readonly times: number[]; readonly accounts: string[] } {
  const { byDigest, byAccount } = hub.counts.charged;
  return { times: [...new Set(Object.values(byDigest))], accounts: Object.keys(byAccount) };
}

/** What {@link paid} must say: the cluster's account, once for each manifest. */
export const paidOnce = { times: [1], accounts: [account] };

/** A folder for the test that runs now. */
export async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-"));
  onTestFinished(async () => {
    await rm(folder, { recursive: true, force: true });
  });
  return folder;
}
