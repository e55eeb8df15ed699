/** A blob that is not stored, because there is no place for it: it passes through to each client on its own. */
import type { Digest } from "../../oci/digest.ts";
import type { Content } from "./content.ts";
import { Fill, type FillOptions, type FillSource } from "./fill.ts";
import type { Trouble } from "../error.ts";
import { Pipe } from "./pipe.ts";

/** Why a blob is not stored: the disk's trouble, or that the cache would hold more than it may. */
export type PassthroughReason = Trouble | "capacity";

export interface PassthroughOptions extends Pick<FillOptions, "resume" | "progress"> {
  readonly digest: Digest;
  readonly reason: PassthroughReason;
  /** The answer that was on its way when it turned out that there is no place, if it has the whole blob. */
  readonly first: FillSource | undefined;
  /** Asks the upstream for the whole blob. */
  readonly again: () => Promise<FillSource>;
}

/** What the clients get who have asked for one blob at the same time. */
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

  /** The blob for one more client. Its bytes are resumed, proven and held back as a fill's are. */
  async open(): Promise<{ fill: Fill; content: Content }> {
    const { digest, again, resume, progress } = this.#options;
    const mine = this.#first;
    this.#first = undefined;
    const pipe = new Pipe(digest);
    const fill = new Fill(digest, pipe, mine ?? (await again()), {
      resume,
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
