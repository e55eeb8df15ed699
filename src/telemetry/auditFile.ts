/** A file of lines, written in batches; it may be renamed at any time, and no caller waits for it. */
import type { Clock } from "../async/clock.ts";
import { open, stat, type FileHandle } from "node:fs/promises";

export interface AuditFileOptions {
  readonly path: string;
  readonly clock: Pick<Clock, "now" | "after">;
  /** Called when lines begin to be lost. */
  readonly failed: (error: unknown) => void;
  /** Called with the number of lines that were lost, whenever some were. */
  readonly lost: (lines: number) => void;
  /** Called when lines are written again. */
  readonly recovered: () => void;
}

/** How long a line may stay in memory, in ms. A crash loses as much. */
const flushEveryMs = 500;

/** Bytes from which on lines are written at once. */
const flushAt = 64 * 1024;

/** The most bytes that wait while the disk is slow; lines beyond that are lost. */
const mostWaiting = 8 * 1024 * 1024;

const lineEnd = 0x0a;

export class AuditFile {
  readonly #options: AuditFileOptions;
  #lines: string[] = [];
  #waiting = 0;
  #cancelTimer: (() => void) | undefined;
  #flushing: Promise<void> | undefined;
  #file: FileHandle | undefined;
  #isStale = false;
  #isFailing = false;
  /** The end of a line that was written in part. */
  #torn: Buffer | undefined;

  constructor(options: AuditFileOptions) {
    this.#options = options;
  }

  /** Queues a line, with its line end, and returns at once. */
  add(line: string): void {
    if (this.#waiting + line.length > mostWaiting) return this.#lose(1, new Error("the disk is too slow"));
    this.#lines.push(line);
    this.#waiting += line.length;
    if (this.#waiting >= flushAt) void this.#flush();
    else this.#flushLater();
  }

  /** Reopens the file at the path before the next write. */
  reopen(): void {
    this.#isStale = true;
  }

  /** Writes what is left. */
  async close(): Promise<void> {
    // The first may be running already, without the last lines.
    await this.#flush();
    await this.#flush();
    await this.#file?.close();
    this.#file = undefined;
  }

  #flush(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined;
      if (this.#lines.length > 0) this.#flushLater();
    });
    return this.#flushing;
  }

  #flushLater(): void {
    this.#cancelTimer ??= this.#options.clock.after(flushEveryMs, () => void this.#flush());
  }

  async #write(): Promise<void> {
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    this.#waiting = 0;
    let written = 0;
    try {
      const file = await this.#current();
      await this.#finishTorn(file);
      for (const batch of batches(lines)) await this.#append(file, batch, (count) => (written += count));
      if (this.#isFailing) this.#options.recovered();
      this.#isFailing = false;
    } catch (error) {
      this.#lose(lines.length - written, error);
      // A new handle may work again.
      this.#isStale = true;
    }
  }

  /** The open file, if it still has the path: rotation by renaming needs no signal. */
  async #current(): Promise<FileHandle> {
    const { path } = this.#options;
    const old = this.#file;
    const [ours, there] = [await old?.stat(), await stat(path).catch(() => undefined)];
    const isThere = ours !== undefined && there?.ino === ours.ino && there.dev === ours.dev;
    if (old && isThere && !this.#isStale) return old;
    this.#isStale = false;
    this.#file = undefined;
    await old?.close();
    // A partial line in a renamed file stays partial.
    if (!isThere && this.#torn) {
      this.#torn = undefined;
      this.#options.lost(1);
    }
    return (this.#file = await open(path, "a", 0o640));
  }

  async #finishTorn(file: FileHandle): Promise<void> {
    const torn = this.#torn;
    if (!torn) return;
    const { taken, error } = await put(file, torn);
    this.#torn = taken < torn.length ? torn.subarray(taken) : undefined;
    if (error !== undefined) throw onDisk(error);
  }

  /** Writes lines; `written` is how many were written before the disk failed. */
  async #append(file: FileHandle, lines: readonly string[], written: (lines: number) => void): Promise<void> {
    const bytes = Buffer.from(lines.join(""));
    const { taken, error } = await put(file, bytes);
    if (error === undefined) return written(lines.length);
    const isTorn = taken > 0 && bytes[taken - 1] !== lineEnd;
    // Its end is written as soon as there is space, so it is not lost.
    if (isTorn) this.#torn = bytes.subarray(taken, bytes.indexOf(lineEnd, taken) + 1);
    written(bytes.subarray(0, taken).filter((byte) => byte === lineEnd).length + Number(isTorn));
    throw onDisk(error);
  }

  #lose(lines: number, error: unknown): void {
    this.#options.lost(lines);
    if (!this.#isFailing) this.#options.failed(error);
    this.#isFailing = true;
  }
}

function onDisk(cause: unknown): Error {
  return new Error("the file does not take any more", { cause });
}

/** Writes as much of `bytes` as possible: a nearly full disk takes a part, and only the next write fails with ENOSPC. */
async function put(file: FileHandle, bytes: Uint8Array): Promise<{ taken: number; error?: unknown }> {
  let taken = 0;
  try {
    while (taken < bytes.length) taken += (await file.write(bytes, taken, bytes.length - taken)).bytesWritten;
    return { taken };
  } catch (error) {
    return { taken, error };
  }
}

/** `lines` in runs of about the size that is written at once. */
function* batches(lines: readonly string[]): Generator<string[]> {
  let batch: string[] = [];
  let length = 0;
  for (const line of lines) {
    batch.push(line);
    length += line.length;
    if (length < flushAt) continue;
    yield batch;
    [batch, length] = [[], 0];
  }
  if (batch.length > 0) yield batch;
}
