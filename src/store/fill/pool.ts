/** Memory that blobs are read into, again and again: a fresh buffer for each read costs more CPU than the read itself. */

/** How large a buffer is. Reads of 1 MiB cost a third less CPU than those of 256 KiB. */
const large = 1024 * 1024;

/** How large those are that are lent when all large ones are out: stalled readers keep theirs for as long as they may. */
const small = 64 * 1024;

/** Buffers there are at most of the large ones, and kept at most of the small ones. */
const most = { large: 32, small: 256 } as const;

/** A buffer until it is given back. */
export interface Loan {
  readonly buffer: Buffer;
  /** The buffer must not be used any more: it is filled again for another reader. A second call does nothing. */
  giveBack(): void;
}

/** A bounded number of large buffers, and small ones for as many as come beyond that. */
export class Pool {
  readonly #large: Buffer[] = [];
  readonly #small: Buffer[] = [];
  #made = 0;

  /** Bytes are whatever was there before. */
  take(): Loan {
    let buffer: Buffer | undefined = this.#buffer();
    return {
      buffer,
      giveBack: () => {
        if (buffer) this.#shelve(buffer);
        buffer = undefined;
      },
    };
  }

  #buffer(): Buffer {
    // Those given back last first: the processor still has them at hand.
    const again = this.#large.pop();
    if (again) return again;
    if (this.#made === most.large) return this.#small.pop() ?? Buffer.allocUnsafeSlow(small);
    this.#made += 1;
    return Buffer.allocUnsafeSlow(large);
  }

  #shelve(buffer: Buffer): void {
    if (buffer.length === large) this.#large.push(buffer);
    else if (this.#small.length < most.small) this.#small.push(buffer);
  }
}

/** The process's one pool, which bounds what all readers together hold. */
export const pool = new Pool();
