/** Deterministic tar archives (POSIX ustar), produced piece by piece. */

/** An entry of an archive: a folder when `content` is absent. `content` yields exactly `size` bytes. */
export interface TarEntry {
  readonly path: string;
  readonly size?: number;
  readonly content?: () => Iterable<Buffer>;
}

const block = 512;

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

function header(path: string, size: number, folder: boolean): Buffer {
  const bytes = Buffer.alloc(block);
  bytes.write(path, 0, 100);
  bytes.write(octal(folder ? 0o755 : 0o644, 8), 100);
  bytes.write(octal(0, 8), 108); // uid
  bytes.write(octal(0, 8), 116); // gid
  bytes.write(octal(size, 12), 124);
  bytes.write(octal(0, 12), 136); // mtime: fixed, so that the digest is
  bytes.write(" ".repeat(8), 148); // the checksum is taken with its own field blank
  bytes.write(folder ? "5" : "0", 156);
  bytes.write("ustar\x0000", 257);
  let sum = 0;
  for (const byte of bytes) {
    sum += byte;
  }
  bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return bytes;
}

/** The bytes of an archive of `entries`, in order. */
export function* tarBytes(entries: readonly TarEntry[]): Generator<Buffer> {
  for (const entry of entries) {
    const size = entry.size ?? 0;
    yield header(entry.path, size, entry.content === undefined);
    if (entry.content !== undefined) {
      yield* entry.content();
      yield Buffer.alloc((block - (size % block)) % block);
    }
  }
  yield Buffer.alloc(2 * block);
}
