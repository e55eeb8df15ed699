/** Whether a blob can be stored, and if so, where. */
import type { Digest } from "../../oci/digest.ts";
import { FillError } from "../error.ts";
import type { Blobs, Ingest } from "../blobs.ts";
import type { PassthroughReason } from "./passthrough.ts";
import type { Fills } from "./fills.ts";
import type { Health } from "../health.ts";
import type { Claim, SpaceReservation, DiskSpace } from "../evict/space.ts";

export interface IntakeOptions {
  readonly blobs: Blobs;
  readonly fills: Fills;
  readonly space: Pick<DiskSpace, "reserve" | "lacking">;
  /** Does a manifest that is held name this blob? */
  readonly isNamed: (digest: Digest) => Promise<boolean>;
  readonly health: Pick<Health, "note" | "refusal">;
}

/** Space for one blob. */
export interface Space {
  readonly ingest: Ingest;
  /** Makes space for the blob's first `bytes`. @throws FillError when there is none */
  make(bytes: number): Promise<void>;
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

  /** Does a manifest that is held name this blob? While the catalog does not answer, none does. */
  isNamed(digest: Digest): Promise<boolean> {
    return this.#options.isNamed(digest).catch(() => false);
  }

  /** Space for a blob, or why there is none. For one of unknown size nothing is reserved, so it must be named. */
  async open(digest: Digest, size: number | undefined, claim: Claim): Promise<Space | PassthroughReason> {
    const { blobs, fills, space, health } = this.#options;
    const kept = this.kept(digest);
    if (size === undefined && !claim.isNamed) return "unnamed";
    let reservation: SpaceReservation | undefined;
    try {
      const need = (size ?? kept) - kept;
      // What will have been evicted before the last of it comes is free then.
      const evicted = Math.max(0, await space.lacking(need));
      const refusal = await health.refusal(fills.outstanding + need - evicted);
      if (refusal) return refusal;
      if (size !== undefined) {
        const reserved = await space.reserve(size, kept, claim);
        if (typeof reserved !== "object") return reserved ?? "capacity";
        reservation = reserved;
      }
      const make = async (bytes: number): Promise<void> => {
        if (reservation && !(await reservation.make(bytes)))
          throw new FillError("capacity", "nothing more can be evicted for the blob");
      };
      return { ingest: await blobs.ingest(digest), make, release: () => reservation?.release() };
    } catch (error) {
      reservation?.release();
      const trouble = health.note(error);
      if (trouble) return trouble;
      throw error;
    }
  }
}
