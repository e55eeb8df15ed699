/** A setup to warm: a Hubcap that can be ordered to fetch ahead, the stand-in that it fetches from, and its jobs. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { startHub, type Hub, type HubOptions } from "./hub.ts";
import { startHubcap, upstreamOf, type Hubcap, type WrittenConfig } from "./hubcap.ts";
import { buildImage, type Image } from "./images.ts";

/** The token that changing calls need, and the file that holds it. */
export const adminToken = "sesame-7d1f";
export const folder = mkdtempSync(join(tmpdir(), "hubcap-warm-"));
export const tokenFile = join(folder, "token");
writeFileSync(tokenFile, `${adminToken}\n`);

export interface Setup {
  readonly hub: Hub;
  readonly hubcap: Hubcap;
  /** `library/web:1`, for three platforms. */
  readonly image: Image;
}

/** Opens one until the test is over. `settings` are those of docker.io. */
export async function openWarmSetup(
  options: HubOptions = {},
  config: WrittenConfig = {},
  settings: object = {},
): Promise<Setup> {
  const hub = await startHub(options);
  onTestFinished(() => hub.stop());
  const image = await buildImage({ seed: "web", platforms: ["linux/amd64", "linux/arm64", "linux/arm/v7"] });
  hub.push(image, "library/web", "1");
  const hubcap = await startHubcap({
    config: { upstreams: { "docker.io": upstreamOf(hub, settings) }, admin: { tokenFile }, ...config },
  });
  onTestFinished(() => hubcap.dispose());
  return { hub, hubcap, image };
}

/** What `GET /api/v1/warm/{id}` answers, as far as tests look at it. */
export interface WarmJob {
  readonly id: string;
  readonly state: string;
  readonly held: number;
  readonly left: number;
  readonly bytes: number;
  readonly totalBytes: number;
  readonly goOnAt: string | null;
  readonly images: readonly {
    readonly image: string;
    readonly state: string;
    readonly error: string | null;
    readonly retryAt: string | null;
  }[];
}

/** The job, as soon as it fits. */
export async function until(hubcap: Hubcap, id: string, fits: (job: WarmJob) => boolean): Promise<WarmJob> {
  const job = async (): Promise<WarmJob> => (await hubcap.status(`/api/v1/warm/${id}`)) as WarmJob;
  await expect.poll(async () => fits(await job())).toBe(true);
  return job();
}
