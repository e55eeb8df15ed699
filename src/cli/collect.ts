/** What belongs to an image that is held: its manifests, config, layers and referrers, as an export needs them. */
import type { Descriptor, Platform } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { listedAs, readManifest } from "../oci/manifest.ts";
import { formatPlatform, isPlatform } from "../oci/platform.ts";
import { formatRepository, type Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, HeldManifest, Inventory } from "../store/catalog.ts";

/** The store, as far as it is read. */
export interface StoreParts {
  readonly catalog: Catalog;
  readonly inventory: Inventory;
  readonly blobs: Pick<Blobs, "open" | "read">;
}

/** Everything that an image consists of, as far as it is held. */
export interface Collection {
  /** Sizes in bytes. */
  readonly blobs: Map<Digest, number>;
  /** What refers to a manifest that was collected. */
  readonly referrers: Descriptor[];
  /** Children of indexes that are not held, by a name for people. */
  readonly missing: string[];
}

export function emptyCollection(): Collection {
  return { blobs: new Map(), referrers: [], missing: [] };
}

/** Adds a manifest and what it reaches to `into`; of an index, only the platform that is wanted. @throws Error when a part is lost. */
export async function collect(
  store: StoreParts,
  repository: Repository,
  manifest: HeldManifest,
  into: Collection,
  wanted?: Platform,
): Promise<void> {
  const { catalog, inventory, blobs } = store;
  const { digest, size, mediaType } = manifest;
  if (into.blobs.has(digest)) return;
  const bytes = await blobs.read(digest, size);
  if (!bytes)
    throw new Error(`${formatRepository(repository)}@${digest} is lost from the disk: pull it again`);
  into.blobs.set(digest, size);
  const { children, config, layers } = readManifest(bytes, mediaType);
  for (const child of children) {
    if (wanted && !(child.platform && isPlatform(child.platform, wanted))) continue;
    const held = await catalog.manifest(repository, child.digest);
    if (held) await collect(store, repository, held, into, wanted);
    else into.missing.push(platformName(child));
  }
  const lacking = [];
  for (const blob of [...(config ? [config] : []), ...layers]) {
    const held = await catalog.blobAnywhere(blob.digest);
    if (held === undefined) lacking.push(blob.digest);
    else into.blobs.set(blob.digest, held);
  }
  if (lacking.length > 0) {
    const all = layers.length + (config ? 1 : 0);
    throw new Error(
      `${formatRepository(repository)}@${digest} is not complete: ${lacking.length} of its ${all} blobs are not held; pull it through Hubcap first`,
    );
  }
  const own = new Set(children.map((child) => child.digest));
  for (const referrer of await inventory.parts(repository, digest)) {
    if (own.has(referrer.digest) || into.blobs.has(referrer.digest)) continue;
    await collect(store, repository, referrer, into);
    into.referrers.push(await describe(blobs, referrer));
  }
}

/** A referrer as the layout's index names it. */
async function describe(blobs: Pick<Blobs, "read">, held: HeldManifest): Promise<Descriptor> {
  const { digest, mediaType, size } = held;
  const bytes = (await blobs.read(digest, size)) ?? Buffer.alloc(0);
  return listedAs(held, readManifest(bytes, mediaType));
}

function platformName({ platform, digest }: Descriptor): string {
  return platform ? formatPlatform(platform) : digest;
}
