/** `hubcap export`: images that are held, as an OCI image layout in one tar archive. Only reads, so Hubcap may be running. */
import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import { pack, type Pack } from "tar-stream";
import type { Descriptor, Platform } from "../oci/descriptor.ts";
import { algorithmOf, finish, hashFor, type Digest } from "../oci/digest.ts";
import { parseImage, referenceOf, type Image } from "../oci/image.ts";
import {
  blobPath,
  indexFile,
  layoutFile,
  layoutMark,
  nameAnnotation,
  refAnnotation,
  writeLayoutIndex,
} from "../oci/layout.ts";
import { parsePlatform, platformExpected } from "../oci/platform.ts";
import { formatImage, isDigest } from "../oci/reference.ts";
import type { Routing } from "../oci/target.ts";
import type { HeldManifest } from "../store/catalog.ts";
import { openStoreBeside } from "../store/open.ts";
import { collect, emptyCollection, type Collection, type StoreParts } from "./collect.ts";
import { UsageError } from "./exit.ts";
import { Progress } from "./progress.ts";
import { bytesText } from "../async/text.ts";

export interface ExportOptions {
  readonly images: readonly string[];
  readonly file: string;
  /** Such as `linux/amd64`; all that are held without it. */
  readonly platform: string | undefined;
  readonly root: string;
  readonly routing: Routing;
}

/** An image that was found, and how it is named in the layout. */
interface Named {
  readonly image: Image;
  readonly manifest: HeldManifest;
}

/** Writes the archive, all of it or nothing. @throws UsageError; Error with what is not held. */
export async function exportImages(options: ExportOptions): Promise<void> {
  const { file, root } = options;
  const platform = readPlatform(options.platform);
  const store = openStoreBeside(root);
  try {
    const named = [];
    const collection = emptyCollection();
    for (const text of options.images) {
      const image = parseImage(text, options.routing);
      const manifest = await find(store, image);
      await collect(store, image, manifest, collection, platform);
      named.push({ image, manifest });
    }
    for (const platform of collection.missing) console.error(`not held, so left out: ${platform}`);
    await write(store, file, indexOf(named, collection), collection.blobs);
    const bytes = collection.blobs.values().reduce((sum, size) => sum + size, 0);
    console.log(`${named.length} images, ${collection.blobs.size} blobs, ${bytesText(bytes)} in ${file}`);
  } finally {
    await store.close();
  }
}

function readPlatform(text: string | undefined): Platform | undefined {
  const platform = text === undefined ? undefined : parsePlatform(text);
  if (text === undefined || platform) return platform;
  throw new UsageError(`--platform takes ${platformExpected}. See hubcap export --help`);
}

async function find({ catalog }: StoreParts, image: Image): Promise<HeldManifest> {
  const reference = referenceOf(image);
  const manifest = isDigest(reference)
    ? await catalog.manifest(image, reference)
    : (await catalog.tag(image, reference))?.held;
  if (manifest) return manifest;
  throw new Error(`${formatImage(image, reference)} is not held: pull it through Hubcap first`);
}

function indexOf(named: readonly Named[], { referrers }: Collection): Descriptor[] {
  const tags = named.map(({ image }) => String(referenceOf(image)));
  const images = named.map(({ image, manifest }): Descriptor => {
    const reference = referenceOf(image);
    const name = formatImage(image, reference);
    // Where two images have the same tag, only the whole name tells them apart.
    const alone = tags.filter((tag) => tag === reference).length === 1;
    const { digest, mediaType, size } = manifest;
    return {
      mediaType,
      digest,
      size,
      annotations: {
        [nameAnnotation]: name,
        ...(!isDigest(reference) && { [refAnnotation]: alone ? reference : name }),
      },
    };
  });
  return [...images, ...referrers];
}

async function write(
  { blobs }: StoreParts,
  file: string,
  index: readonly Descriptor[],
  sizes: ReadonlyMap<Digest, number>,
): Promise<void> {
  const draft = `${file}.part`;
  const archive = pack();
  const written = pipeline(archive, createWriteStream(draft));
  const progress = new Progress(
    "exported",
    sizes.values().reduce((sum, size) => sum + size, 0),
  );
  try {
    archive.entry(header(layoutFile, layoutMark.length), layoutMark);
    const text = writeLayoutIndex(index);
    archive.entry(header(indexFile, Buffer.byteLength(text)), text);
    for (const [digest, size] of [...sizes].toSorted(([one], [other]) => (one < other ? -1 : 1))) {
      await Promise.race([add(archive, blobs, digest, size, progress), written]);
      progress.part(digest, size);
    }
    archive.finalize();
    await written;
    await rename(draft, file);
  } catch (error) {
    archive.destroy(error instanceof Error ? error : null);
    await written.catch(() => {});
    await rm(draft, { force: true });
    throw error;
  } finally {
    progress.end();
  }
}

/** Adds a blob, and proves it on the way: what has rotted on the disk must not travel. */
async function add(
  archive: Pack,
  blobs: StoreParts["blobs"],
  digest: Digest,
  size: number,
  progress: Progress,
): Promise<void> {
  const content = await blobs.open(digest, size);
  if (!content) throw new Error(`${digest} is lost from the disk: pull its image again`);
  const { promise: added, resolve, reject } = Promise.withResolvers<void>();
  const entry = archive.entry(header(blobPath(digest), size), (error) => (error ? reject(error) : resolve()));
  const hash = hashFor(digest);
  for await (const chunk of content.pieces()) {
    hash.update(chunk);
    // A copy, because the archive takes it in its own time.
    if (!entry.write(Buffer.from(chunk))) await once(entry, "drain");
    progress.advance(chunk.length);
  }
  entry.end(null);
  await added;
  if (finish(hash, algorithmOf(digest)) !== digest) {
    throw new Error(`${digest} is damaged on the disk: run hubcap fsck`);
  }
}

/** The same content is the same archive, whenever and by whomever it is made. */
function header(name: string, size: number) {
  return { name, size, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) };
}
