/** The running fills, at most one for a digest. */
import type { Digest } from "../../oci/digest.ts";
import type { Clock } from "../../async/clock.ts";
import { Fill, type FillOptions, type SerializeByDigest, type FillSource } from "./fill.ts";
import type { Ingest } from "../blobs.ts";

export class Fills {
  readonly #running = new Map<Digest, Fill>();
  readonly #common: Pick<FillOptions, "clock" | "serialize">;

  constructor(clock: Clock, serialize?: SerializeByDigest) {
    this.#common = { clock, ...(serialize && { serialize }) };
  }

  get(digest: Digest): Fill | undefined {
    return this.#running.get(digest);
  }

  /** Begins a fill with `first`, which it closes. @returns the fill, which is known here until its blob is held or it has failed */
  begin(
    digest: Digest,
    ingest: Ingest,
    first: FillSource,
    options: Omit<FillOptions, "clock" | "serialize">,
  ): Fill {
    const fill = new Fill(digest, ingest, first, { ...options, ...this.#common });
    this.#running.set(digest, fill);
    const leave = (): void => {
      if (this.#running.get(digest) === fill) this.#running.delete(digest);
    };
    fill.settled.then(leave, leave);
    return fill;
  }

  get count(): number {
    return this.#running.size;
  }

  /** Oldest first. */
  get running(): Iterable<Fill> {
    return this.#running.values();
  }

  /** Bytes that the running fills will still write, as far as their sizes are known. */
  get outstanding(): number {
    const left = [...this.#running.values()].map(({ size, written }) => (size ?? written) - written);
    return left.reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Settles when every fill that runs now is over. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#running.values()].map((fill) => fill.settled));
  }
}
