/** The newest bytes of a fill, in memory: they wait there for the disk, and stay a while for readers. */
import { pool, type PooledBuffer } from "./pool.ts";

/** Blocks kept beside the one that is being filled. */
const kept = 2;

/** Consecutive bytes, in a buffer that is returned when the fill and all readers are done with it. */
class Block {
  readonly start: number;
  readonly #memory: PooledBuffer = pool.take();
  #filled = 0;
  #holders = 1;

  constructor(start: number) {
    this.start = start;
  }

  get end(): number {
    return this.start + this.#filled;
  }

  /** Copies as much as fits. @returns the number of bytes */
  append(bytes: Uint8Array): number {
    const { buffer } = this.#memory;
    const part = bytes.subarray(0, buffer.length - this.#filled);
    buffer.set(part, this.#filled);
    this.#filled += part.length;
    return part.length;
  }

  bytes(from: number, to: number): Buffer {
    return this.#memory.buffer.subarray(from - this.start, Math.min(to, this.end) - this.start);
  }

  hold(): void {
    this.#holders += 1;
  }

  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#memory.release();
  }
}

export class Tail {
  readonly #blocks: Block[] = [];
  #end: number;

  /** For bytes from `start` of the blob on. */
  constructor(start: number) {
    this.#end = start;
  }

  /** Where in the blob the next bytes will be. */
  get end(): number {
    return this.#end;
  }

  /** Copies bytes to the end, as many as fit without dropping a block that still has bytes from `written` on. */
  append(bytes: Uint8Array, written: number): number {
    let done = 0;
    while (done < bytes.length) {
      let block = this.#blocks.at(-1);
      const took = block?.append(bytes.subarray(done)) ?? 0;
      done += took;
      this.#end += took;
      if (took > 0) continue;
      const oldest = this.#blocks[0];
      if (oldest && this.#blocks.length > kept) {
        if (oldest.end > written) break;
        this.#blocks.shift();
        oldest.release();
      }
      block = new Block(this.#end);
      this.#blocks.push(block);
    }
    return done;
  }

  /** Bytes from `at` on, at most to `end`, valid until they are released; undefined when they are not in memory. */
  take(at: number, end: number): { readonly bytes: Buffer; readonly release: () => void } | undefined {
    const block = this.#blocks.find(({ start, end }) => start <= at && at < end);
    if (!block) return undefined;
    block.hold();
    return { bytes: block.bytes(at, end), release: () => block.release() };
  }

  /** Where in the blob the oldest bytes in memory are. */
  get start(): number {
    return this.#blocks[0]?.start ?? this.#end;
  }

  /** Nothing more will be appended or taken. */
  close(): void {
    for (const block of this.#blocks.splice(0)) block.release();
  }
}
