/** Whether a blob can be stored, and if so, where. */
import type { Digest } from "../../oci/digest.ts";
import type { Blobs, Ingest } from "../blobs.ts";
import type { PassthroughReason } from "./passthrough.ts";
import type { Fills } from "./fills.ts";
import type { Health } from "../health.ts";
import type { SpaceReservation, DiskSpace } from "../evict/space.ts";

export interface IntakeOptions {
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly space: Pick<DiskSpace, "reserve">;
  readonly health: Pick<Health, "note" | "refusal">;
}

/** Space for one blob. */
export interface Space {
  readonly ingest: Ingest;
  /** The blob is held, and counted as such, or its fill has failed. */
  release(): void;
}

export class Intake {
  readonly #options: IntakeOptions;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** The size of the blob's leftover, in bytes. */
  kept(digest: Digest): number {
    return this.#options.blobs.kept(digest);
  }

  /** Space for a blob, or why there is none. For one of unknown size nothing is reserved. */
  async open(digest: Digest, size: number | undefined): Promise<Space | PassthroughReason> {
    const { blobs, fills, space, health } = this.#options;
    const kept = this.kept(digest);
    const refusal = await health.refusal(fills.outstanding + (size ?? kept) - kept);
    if (refusal) return refusal;
    let reservation: SpaceReservation | undefined;
    try {
      if (size !== undefined) {
        reservation = await space.reserve(size, kept);
        if (!reservation) return "capacity";
      }
      return { ingest: await blobs.ingest(digest), release: () => reservation?.release() };
    } catch (error) {
      reservation?.release();
      const trouble = health.note(error);
      if (trouble) return trouble;
      throw error;
    }
  }
}
