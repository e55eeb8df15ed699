/** Jobs of a running Hubcap that fetch ahead, as its API shows them. */
import { expect } from "vitest";
import type { Hubcap } from "./hubcap.ts";

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
  await expect.poll(async () => fits(await job()), { timeout: 15_000 }).toBe(true);
  return job();
}
