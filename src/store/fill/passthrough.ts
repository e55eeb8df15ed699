/** A blob that cannot be stored: it is passed on to each client, with a request to the upstream for each. */
import { algorithmOf, finish, hashFor, type Digest } from "../../oci/digest.ts";
import type { Ingest } from "../blobs.ts";
import type { SpaceRefusal } from "../evict/space.ts";
import type { Content } from "./content.ts";
import { Fill, heldBack, type FillOptions, type FillSource } from "./fill.ts";
import { IntegrityError, type Trouble } from "../error.ts";

/** Why a blob is not stored: the disk's trouble, that nothing can be evicted for it, or nothing may. */
export type PassthroughReason = Trouble | "capacity" | SpaceRefusal;

export interface PassthroughOptions extends Pick<FillOptions, "resume" | "progress" | "clock"> {
  readonly digest: Digest;
  readonly reason: PassthroughReason;
  /** The answer that has begun already, if it is the whole blob. */
  readonly first: FillSource | undefined;
  /** Requests the whole blob from the upstream. */
  readonly again: () => Promise<FillSource>;
}

/** For all clients that have requested one blob at the same time. */
export class Passthrough {
  readonly #options: PassthroughOptions;
  #first: FillSource | undefined;

  constructor(options: PassthroughOptions) {
    this.#options = options;
    this.#first = options.first;
  }

  get reason(): PassthroughReason {
    return this.#options.reason;
  }

  /** The blob for one client, resumed, proven and held back like any fill. */
  async open(): Promise<{ fill: Fill; content: Content }> {
    const { digest, again, resume, progress, clock } = this.#options;
    const first = this.#first;
    this.#first = undefined;
    const pipe = new Pipe(digest);
    const fill = new Fill(digest, pipe, first ?? (await again()), {
      resume,
      clock,
      hold: nothing,
      ...(progress && { progress }),
    });
    return { fill, content: readOnce(fill, pipe) };
  }
}

/** There is no row to write for what is not held. */
async function nothing(): Promise<void> {}

function readOnce(fill: Fill, pipe: Pipe): Content {
  const content = fill.open();
  if (!content) throw new Error("a fill that has just begun is closed");
  const abandon = (): void => pipe.abandon();
  return {
    size: content.size,
    fromStart: true,
    pieces: (_span, left) => untilOver(content.pieces(undefined, left), abandon),
    close: async () => {
      abandon();
      await content.close();
    },
  };
}

async function* untilOver(pieces: AsyncIterable<Buffer>, over: () => void): AsyncGenerator<Buffer> {
  try {
    yield* pieces;
  } finally {
    over();
  }
}

/** How far the upstream may be ahead of the reader, in bytes: more than what is held back, or each would wait for the other. */
const ahead = 16 * heldBack;

/** An ingest without a file, for one reader. */
class Pipe implements Ingest {
  readonly kept = 0;
  readonly isReadOnce = true;
  readonly #digest: Digest;
  readonly #hash;
  #chunks: { readonly start: number; readonly bytes: Uint8Array }[] = [];
  #written = 0;
  #taken = 0;
  #moved = Promise.withResolvers<void>();
  #abandoned = false;

  constructor(digest: Digest) {
    this.#digest = digest;
    this.#hash = hashFor(digest);
  }

  async rehash(): Promise<void> {}

  async write(chunk: Uint8Array): Promise<void> {
    while (this.#written - this.#taken > ahead && !this.#abandoned) await this.#moved.promise;
    if (this.#abandoned) throw new Error("the reader has left");
    this.#hash.update(chunk);
    // A copy, since the caller uses the memory again.
    this.#chunks.push({ start: this.#written, bytes: Buffer.from(chunk) });
    this.#written += chunk.length;
  }

  /** Bytes can be read once, from the first to the last. */
  async read(buffer: Uint8Array, length: number, position: number): Promise<number> {
    let done = 0;
    for (const { start, bytes } of this.#chunks) {
      const part = bytes.subarray(position + done - start, position + length - start);
      buffer.set(part, done);
      done += part.length;
      if (done === length) break;
    }
    this.#taken = position + done;
    this.#chunks = this.#chunks.filter(({ start, bytes }) => start + bytes.length > this.#taken);
    this.#wake();
    return done;
  }

  verify(): void {
    const found = finish(this.#hash, algorithmOf(this.#digest));
    if (found !== this.#digest) throw new IntegrityError(this.#digest, found, this.#written);
  }

  async commit(): Promise<void> {}

  async close(): Promise<void> {}

  /** The reader has stopped: the next write fails. */
  abandon(): void {
    this.#abandoned = true;
    this.#chunks = [];
    this.#wake();
  }

  #wake(): void {
    const moved = this.#moved;
    this.#moved = Promise.withResolvers();
    moved.resolve();
  }
}
