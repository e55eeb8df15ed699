/** Image layers: gzipped tars of seeded incompressible bytes, in memory when small and cached on disk when large. */
import { createCipheriv, createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip, gzipSync } from "node:zlib";
import { bytesContent, digestOf, fileContent, type Content } from "./content.ts";
import { tarBytes, type TarEntry } from "./tar.ts";

/** A layer: its compressed content, that content's digest, and the digest of the tar inside. */
export interface Layer {
  readonly digest: string;
  readonly diffId: string;
  readonly content: Content;
}

const inMemory = 4 * 1024 * 1024;
// Stored, not deflated: the bytes do not compress, and a layer of hundreds of MiB is made at disk speed.
const gzipOptions = { level: 0 };

/** `size` bytes that depend on `seed` alone and look random (AES in counter mode). */
export function* seededBytes(seed: string, size: number): Generator<Buffer> {
  const cipher = createCipheriv("aes-256-ctr", createHash("sha256").update(seed).digest(), Buffer.alloc(16));
  const zeros = Buffer.alloc(256 * 1024);
  for (let left = size; left > 0; left -= zeros.length) {
    yield cipher.update(zeros.subarray(0, Math.min(zeros.length, left)));
  }
}

function text(path: string, content: string): TarEntry {
  return { path, size: Buffer.byteLength(content), content: () => [Buffer.from(content)] };
}

function entriesOf(seed: string, size: number): TarEntry[] {
  const name = createHash("sha256").update(seed).digest("hex").slice(0, 12);
  return [
    { path: "etc/" },
    text("etc/os-release", `ID=hubcap-test\nPRETTY_NAME="Hubcap test image"\nVARIANT=${name}\n`),
    { path: "srv/" },
    { path: `srv/${name}.bin`, size, content: () => seededBytes(seed, size) },
  ];
}

/** The layer with `size` bytes of payload that `seed` stands for. Its compressed size is a few KiB more. */
export async function buildLayer(seed: string, size: number): Promise<Layer> {
  if (size > inMemory) {
    return largeLayer(seed, size);
  }
  const tar = Buffer.concat([...tarBytes(entriesOf(seed, size))]);
  const bytes = gzipSync(tar, gzipOptions);
  return { digest: digestOf(bytes), diffId: digestOf(tar), content: bytesContent(bytes) };
}

interface Note {
  readonly digest: string;
  readonly diffId: string;
  readonly size: number;
}

async function largeLayer(seed: string, size: number): Promise<Layer> {
  const folder = join(tmpdir(), "hubcap-test-layers");
  const key = createHash("sha256").update(`1 ${seed} ${size}`).digest("hex").slice(0, 32);
  const path = join(folder, `${key}.tar.gz`);
  const note = await readNote(`${path}.json`);
  if (note !== undefined) {
    return { digest: note.digest, diffId: note.diffId, content: fileContent(path, note.size) };
  }
  await mkdir(folder, { recursive: true });
  // Test files run in several processes at once: each writes its own file, and the last rename wins with equal bytes.
  const draft = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  const plain = createHash("sha256");
  const packed = createHash("sha256");
  let packedSize = 0;
  function* hashed(): Generator<Buffer> {
    for (const piece of tarBytes(entriesOf(seed, size))) {
      plain.update(piece);
      yield piece;
    }
  }
  await pipeline(
    Readable.from(hashed()),
    createGzip(gzipOptions),
    async function* (pieces: AsyncIterable<Buffer>) {
      for await (const piece of pieces) {
        packed.update(piece);
        packedSize += piece.length;
        yield piece;
      }
    },
    createWriteStream(draft),
  );
  const made: Note = {
    digest: `sha256:${packed.digest("hex")}`,
    diffId: `sha256:${plain.digest("hex")}`,
    size: packedSize,
  };
  await rename(draft, path);
  await writeFile(`${draft}.json`, JSON.stringify(made));
  await rename(`${draft}.json`, `${path}.json`);
  return { digest: made.digest, diffId: made.diffId, content: fileContent(path, made.size) };
}

async function readNote(path: string): Promise<Note | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Note;
  } catch {
    return undefined;
  }
}
