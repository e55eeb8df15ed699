/** The running fills, at most one for a digest. */
import type { Digest } from "../../oci/digest.ts";
import { Fill, type FillOptions, type SerializeByDigest, type FillSource } from "./fill.ts";
import type { Ingest } from "../blobs.ts";

/** All downloads that run now. */
export class Fills {
  readonly #running = new Map<Digest, Fill>();
  readonly #keep: SerializeByDigest | undefined;

  /** `keep`: see {@link FillOptions.keep}. */
  constructor(keep?: SerializeByDigest) {
    this.#keep = keep;
  }

  get(digest: Digest): Fill | undefined {
    return this.#running.get(digest);
  }

  /** Takes over `first` and keeps the fill until its blob is held or has failed. */
  begin(digest: Digest, ingest: Ingest, first: FillSource, options: FillOptions): Fill {
    const fill = new Fill(digest, ingest, first, { ...options, ...(this.#keep && { keep: this.#keep }) });
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

  /** All of them, the one that began first at the front. */
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
