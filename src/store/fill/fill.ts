/** A fill: a blob on its way in. It belongs to no client, and every client reads the growing file at its own offset. */
import type { Clock } from "../../async/clock.ts";
import type { Digest } from "../../oci/digest.ts";
import type { Repository } from "../../oci/reference.ts";
import { pooledPieces, type Content, type Sendfile } from "./content.ts";
import { FillError } from "../error.ts";
import type { Ingest } from "../blobs.ts";
import { Tail } from "./tail.ts";

/**
 * The last bytes of a blob, which no reader gets before size and digest are proven.
 * A wrong blob thus never arrives complete: its readers are cut.
 */
export const heldBack = 64 * 1024;

/** How many bytes of a file are read for a reader before sendfile is tried again. */
const stretch = 1024 * 1024;

/** The pause in ms after each try in a row that brought nothing. The try after the last pause fails the fill if it brings nothing either. */
const pauses = [500, 2_000] as const;

/** A try that brings fewer bytes than this is poor, and so many poor ones in a row fail the fill too. */
const poor = { bytes: 64 * 1024, tries: 20 } as const;

/** A blob's bytes as an upstream sends them. */
export interface FillSource {
  /** Where in the blob `body` begins. */
  readonly offset: number;
  /** The size of the whole blob in bytes, where the upstream said it. */
  readonly size: number | undefined;
  /** The bytes; iterating throws when the upstream breaks off or stalls. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Closes a body that is not read to its end. */
  cancel(): void;
}

/** Runs work on a blob and its row while nothing else changes either. */
export type SerializeByDigest = (digest: Digest, work: () => Promise<void>) => Promise<void>;

/** What a fill needs besides its first bytes. */
export interface FillOptions {
  /** Requests the rest from the upstream, from `offset` on. The answer may begin earlier; those bytes are skipped. */
  readonly resume: (offset: number) => Promise<FillSource>;
  /** Makes space for the blob's first `bytes`. @throws FillError when there is none */
  readonly makeSpace?: (bytes: number) => Promise<void>;
  /** Writes the catalog's row, once the bytes are safe under their name. */
  readonly hold: (size: number) => Promise<void>;
  /** Runs the commit: the blob's name and its row. */
  readonly serialize?: SerializeByDigest;
  readonly clock: Clock;
  /** Is it wanted though it has no reader any more? Always, unless given. */
  readonly isWanted?: () => Promise<boolean>;
  /** Whose client asked first, for the status page. */
  readonly repository?: Repository;
  /** Called for every chunk that was written, with its length. */
  readonly progress?: (bytes: number) => void;
}

/** One running download. */
export class Fill {
  readonly digest: Digest;
  /** The size of the blob, or undefined until the end when the upstream did not say. */
  readonly size: number | undefined;
  /** Whose client asked first. */
  readonly repository: Repository | undefined;
  /** When it began, in ms since the epoch. */
  readonly startedAt: number;
  /** Settles when the bytes are proven: readers have them all, though they may not be safe on disk yet. */
  readonly proven: Promise<void>;
  /** Settles when the blob is held, or when the fill has failed. */
  readonly settled: Promise<void>;
  readonly #ingest: Ingest;
  readonly #options: FillOptions;
  readonly #tail: Tail;
  #written = 0;
  /** The writing that is under way, or that has failed. */
  #writing: Promise<void> | undefined;
  #visible = 0;
  /** Wakes the readers that have all there is. */
  #waiting: (() => void)[] = [];
  #over = false;
  /** How many hold the file open: the fill itself, and each reader. */
  #holders = 1;
  #source: FillSource | undefined;
  #abandoned = false;

  constructor(digest: Digest, ingest: Ingest, first: FillSource, options: FillOptions) {
    this.digest = digest;
    this.size = first.size;
    this.repository = options.repository;
    this.startedAt = options.clock.now();
    this.#ingest = ingest;
    this.#options = options;
    this.#written = ingest.kept;
    this.#tail = new Tail(ingest.kept);
    this.proven = this.#receive(first);
    this.settled = this.#settle();
    // Waiting readers get the failure; without one it must not be an unhandled rejection.
    this.proven.catch(() => {});
    this.settled.catch(() => {});
  }

  /** Bytes written so far. */
  get written(): number {
    return this.#written;
  }

  /** No one wants it: it will fail. */
  get isAbandoned(): boolean {
    return this.#abandoned;
  }

  /** Clients that read it now. */
  get readers(): number {
    return Math.max(0, this.#holders - 1);
  }

  /** Content for one client, or undefined when the file is closed already. Its pieces end with an error when the fill fails. */
  open(): Content | undefined {
    if (this.#holders === 0 || this.#abandoned) return undefined;
    this.#holders++;
    return {
      size: this.size,
      pieces: (span, left, sendfile) => this.#pieces(span?.start ?? 0, span?.end ?? Infinity, left, sendfile),
      close: () => this.#release(),
    };
  }

  async *#pieces(
    start: number,
    end: number,
    left: AbortSignal | undefined,
    sendfile: Sendfile | undefined,
  ): AsyncGenerator<Buffer> {
    const readAt = (buffer: Buffer, length: number, at: number): Promise<number> =>
      this.#ingest.read(buffer, length, at);
    try {
      for (let at = start; at < end;) {
        while (at >= this.#visible && !this.#over) await this.#grown(left);
        // Over may mean failed, and then this throws.
        if (this.#over) await this.proven;
        const until = Math.min(end, this.#visible);
        if (at >= until) return;
        const { descriptor } = this.#ingest;
        if (sendfile && descriptor !== undefined) {
          at += await sendfile(descriptor, at, Math.min(until, this.#written));
          if (at === until) continue;
        }
        const newest = this.#ingest.isReadOnce ? undefined : this.#tail.take(at, until);
        if (newest) {
          try {
            at += newest.bytes.length;
            yield newest.bytes;
          } finally {
            newest.release();
          }
          continue;
        }
        const limit = Math.min(until, at + stretch, this.#tail.start > at ? this.#tail.start : Infinity);
        for await (const piece of pooledPieces(readAt, at, limit)) {
          at += piece.length;
          yield piece;
        }
      }
    } finally {
      await this.#release();
    }
  }

  /** Settles when there is more to read. @throws when `left` is aborted before. */
  #grown(left: AbortSignal | undefined): Promise<void> {
    left?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (): void => reject(left?.reason);
    left?.addEventListener("abort", leave, { once: true });
    this.#waiting.push(() => {
      left?.removeEventListener("abort", leave);
      resolve();
    });
    return promise;
  }

  async #receive(first: FillSource): Promise<void> {
    try {
      this.#show(this.#written);
      await this.#ingest.rehash().catch(onDisk);
      this.#source = first;
      for (let fruitless = 0, poorTries = 0; ;) {
        const before = this.#written;
        try {
          this.#source ??= await this.#options.resume(this.#written);
          if (!this.#abandoned) await this.#drain(this.#source);
          if (this.size === undefined || this.#written === this.size) break;
          throw new FillError("broken", `the upstream ended after ${this.#written} of ${this.size} bytes`);
        } catch (error) {
          if (this.#abandoned) throw new FillError("abandoned", "no client and no manifest wants the blob");
          if (error instanceof FillError && (error.kind === "disk" || error.kind === "capacity")) throw error;
          fruitless = this.#written > before ? 0 : fruitless + 1;
          poorTries = this.#written - before < poor.bytes ? poorTries + 1 : 0;
          if (fruitless > pauses.length || poorTries === poor.tries) {
            throw new FillError("broken", `the upstream broke off ${poorTries} times`, { cause: error });
          }
          await this.#options.clock.sleep(pauses[fruitless - 1] ?? 0);
        } finally {
          this.#source?.cancel();
          this.#source = undefined;
        }
      }
      this.#ingest.verify();
      this.#over = true;
      this.#grow(this.#written);
    } catch (error) {
      this.#over = true;
      this.#grow(this.#visible);
      throw error;
    }
  }

  async #drain(source: FillSource): Promise<void> {
    let past = this.#written - source.offset;
    const isOther = source.size !== undefined && this.size !== undefined && source.size !== this.size;
    if (past < 0 || isOther) {
      throw new FillError("broken", `the upstream answered from byte ${source.offset} of ${source.size}`);
    }
    try {
      for await (const received of source.body) {
        const chunk = past > 0 ? received.subarray(past) : received;
        past -= received.length - chunk.length;
        if (this.size !== undefined && this.#tail.end + chunk.length > this.size) {
          throw new FillError("broken", `the upstream sent more than ${this.size} bytes`);
        }
        if (chunk.length > 0) await this.#gather(chunk, source);
      }
    } finally {
      // All that has come is kept: the next answer begins after it.
      await (this.#writing ?? this.#writeOn());
    }
  }

  /** Copies `chunk` to what waits for the disk, and waits while there is no space for it. */
  async #gather(chunk: Uint8Array, source: FillSource): Promise<void> {
    for (let done = 0; ;) {
      done += this.#tail.append(chunk.subarray(done), this.#written);
      // The first bytes are shown at once: until the disk has confirmed them, many more have come.
      if (this.#visible === 0 && !this.#ingest.isReadOnce) this.#show(this.#tail.end);
      if (!this.#writing) {
        this.#writing = this.#writeOn();
        // A failure is thrown to whoever awaits the writing; cancelling ends a body that may take long.
        this.#writing.catch(() => source.cancel());
      }
      if (done === chunk.length) return;
      await this.#writing;
    }
  }

  /** Writes what waits, and what comes meanwhile. @throws FillError */
  async #writeOn(): Promise<void> {
    for (;;) {
      const next = this.#tail.take(this.#written, this.#tail.end);
      if (!next) {
        this.#writing = undefined;
        return;
      }
      const { bytes, release } = next;
      try {
        await this.#options.makeSpace?.(this.#written + bytes.length);
        await this.#ingest.write(bytes).catch(onDisk);
      } finally {
        release();
      }
      this.#written += bytes.length;
      this.#options.progress?.(bytes.length);
      this.#show(this.#written);
    }
  }

  async #settle(): Promise<void> {
    try {
      await this.proven;
      const { hold, serialize = (_digest, work) => work() } = this.#options;
      await serialize(this.digest, async () => {
        await this.#ingest.commit().catch(onDisk);
        await hold(this.#written);
      });
    } finally {
      this.#tail.close();
      await this.#release();
    }
  }

  /** Gives readers what there is up to `end`, but for the bytes that are held back. */
  #show(end: number): void {
    this.#grow(Math.min(end, (this.size ?? end) - heldBack));
  }

  #grow(visible: number): void {
    if (visible > this.#visible) this.#visible = visible;
    else if (!this.#over) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  async #release(): Promise<void> {
    if (--this.#holders === 0) await this.#ingest.close();
    else if (this.#holders === 1 && !this.#over) this.#abandonUnwanted().catch(() => {});
  }

  async #abandonUnwanted(): Promise<void> {
    const { isWanted } = this.#options;
    if (!isWanted || (await isWanted()) || this.#holders > 1 || this.#over) return;
    this.#abandoned = true;
    this.#source?.cancel();
  }
}

function onDisk(error: unknown): never {
  throw new FillError("disk", "the blob cannot be written", { cause: error });
}
