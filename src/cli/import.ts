/** `hubcap import`: takes the images of an OCI image layout, as one tar archive, into a store that no one else has open. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { extract } from "tar-stream";
import { maxManifestBytes, type Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { parseImage, referenceOf } from "../oci/image.ts";
import { digestAt, indexFile, nameOf, readLayoutIndex, refAnnotation } from "../oci/layout.ts";
import { isDigest } from "../oci/reference.ts";
import type { Routing } from "../oci/target.ts";
import type { Blobs } from "../store/blobs.ts";
import { openStore } from "../store/open.ts";
import { StoreWriter } from "./storeWriter.ts";
import { Progress } from "./progress.ts";

export interface ImportOptions {
  readonly file: string;
  /** The name of the archive's one image, where the archive does not say it. */
  readonly as: string | undefined;
  readonly root: string;
  readonly routing: Routing;
}

/** Holds what the archive has. @throws LockedError while a Hubcap is running; IntegrityError; Error with what is wrong. */
export async function importImages({ file, as, root, routing }: ImportOptions): Promise<void> {
  const archiveSize = await sizeOf(file);
  const store = await openStore({ root });
  try {
    const { blobs, catalog } = store;
    const { index, sizes } = await unpack(file, archiveSize, blobs);
    const holder = new StoreWriter({ catalog, blobs, sizes, now: Date.now });
    const unnamed = index.filter((descriptor) => nameOf(descriptor) === undefined);
    const [single, ...more] = unnamed.filter((descriptor) => isImage(descriptor, index));
    if (as !== undefined && (more.length > 0 || !single)) {
      throw new Error("--as names one image, and this archive has none, or more than one, without a name");
    }
    for (const descriptor of index) {
      const name = nameOf(descriptor) ?? (descriptor === single ? as : undefined);
      if (name === undefined) continue;
      const image = parseImage(name, routing);
      const reference = referenceOf(image);
      await holder.hold(image, descriptor, isDigest(reference) ? undefined : reference);
      console.log(name);
    }
    const strays = await holder.holdReferrers(unnamed);
    await holder.finish();
    if (strays.length > 0) {
      throw new Error(
        `the archive does not say where ${strays.map(({ digest }) => digest).join(", ")} comes from: name it with --as`,
      );
    }
  } finally {
    await store.close();
  }
}

/** What is asked for by a tag, or is alone. Anything else is there because it refers to something. */
function isImage({ annotations }: Descriptor, index: readonly Descriptor[]): boolean {
  return annotations?.[refAnnotation] !== undefined || index.length === 1;
}

interface Unpacked {
  readonly index: readonly Descriptor[];
  /** Of every blob in the archive, all of which are proven and stored by now. */
  readonly sizes: ReadonlyMap<Digest, number>;
}

/** Looked at first, so that a name with a mistake in it makes no store. */
async function sizeOf(file: string): Promise<number> {
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${file} cannot be read: ${error.code}`, { cause: error });
  });
  if (found.isDirectory()) throw new Error(`${file} is a folder, and import takes one tar archive`);
  return found.size;
}

async function unpack(file: string, archiveSize: number, blobs: Blobs): Promise<Unpacked> {
  const progress = new Progress("imported", archiveSize);
  const sizes = new Map<Digest, number>();
  let index: readonly Descriptor[] | undefined;
  const archive = extract();
  const read = pipeline(createReadStream(file), archive);
  read.catch(() => {});
  for await (const entry of archive) {
    const { name, size, type } = entry.header;
    const path = name.replace(/^(?:\.\/)+/, "");
    const digest = type === "file" ? digestAt(path) : undefined;
    if (digest) {
      await store(entry as AsyncIterable<Uint8Array>, digest, blobs, progress);
      sizes.set(digest, size);
      progress.part(digest, size);
    } else if (path === indexFile && size <= maxManifestBytes) {
      index = readLayoutIndex(await buffer(entry));
    } else {
      entry.resume();
    }
  }
  await read;
  progress.end();
  if (!index) throw new Error(`${file} is no OCI image layout: it has no index.json`);
  return { index, sizes };
}

async function store(
  entry: AsyncIterable<Uint8Array>,
  digest: Digest,
  blobs: Blobs,
  progress: Progress,
): Promise<void> {
  const ingest = await blobs.ingest(digest);
  try {
    for await (const chunk of entry) {
      await ingest.write(chunk);
      progress.advance(chunk.length);
    }
    ingest.verify();
    await ingest.commit();
  } finally {
    await ingest.close();
  }
}
