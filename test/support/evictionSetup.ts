/** A real store in a temporary folder, with eviction, and a clock that the tests move. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ociManifest } from "../../src/oci/descriptor.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { parsePattern, type Pattern } from "../../src/oci/pattern.ts";
import { parseRepositoryName, parseTag, type Repository, type Tag } from "../../src/oci/reference.ts";
import { DiskBlobs } from "../../src/store/disk/blobs.ts";
import type { EvictionReason } from "../../src/store/evict/candidates.ts";
import type { Catalog } from "../../src/store/catalog.ts";
import type { Evicted } from "../../src/store/evict/evict.ts";
import { Pins } from "../../src/store/evict/pins.ts";
import { Eviction, type EvictionOptions } from "../../src/store/evict/eviction.ts";
import { memoryStore } from "./memoryStore.ts";
import { clockAt } from "./pullContext.ts";

export function repository(text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error(text);
  return { upstream: "docker.io", name };
}

export function pattern(text: string): Pattern {
  const read = parsePattern(text);
  if (!read) throw new Error(text);
  return read;
}

export const latest = parseTag("latest") as Tag;
export const layerBytes = 1000;
const manifestBytes = 100;

type EvictionSetupOptions = { readonly capacity?: number; readonly pins?: readonly Pattern[] } & Partial<
  Pick<EvictionOptions, "retention">
>;

/** A store of which each image is a manifest of 100 bytes and layers of 1000. */
export class EvictionSetup {
  now = 1_000_000_000;
  readonly blobs: DiskBlobs;
  readonly catalog: Catalog;
  readonly eviction: Eviction;
  readonly evicted: Partial<Record<EvictionReason, number>> = {};
  leftovers = 0;
  whenEvicted = (): void => {};
  /** Called with each manifest that is planned to go, before it does. */
  whenPlanned = async (_digest: Digest): Promise<void> => {};

  constructor(blobs: DiskBlobs, { capacity = 10_000, pins = [], ...rest }: EvictionSetupOptions) {
    const now = (): number => this.now;
    const { catalog, inventory, expiry, pins: table } = memoryStore(now);
    this.blobs = blobs;
    this.catalog = catalog;
    const contents = inventory.contents.bind(inventory);
    inventory.contents = async (digest) => {
      await this.whenPlanned(digest);
      return contents(digest);
    };
    this.eviction = new Eviction({
      inventory,
      blobs,
      metadata: expiry,
      lasting: [],
      forgotten: () => {},
      listAgeMs: 24 * 60 * 60_000,
      marks: { capacity, high: capacity * 0.9, low: capacity * 0.8 },
      pins: new Pins(table, pins, now),
      retention: [],
      rest: async () => {},
      leftovers: () => this.leftovers,
      evicted: (reason, bytes) => {
        this.evicted[reason] = (this.evicted[reason] ?? 0) + bytes;
        this.whenEvicted();
      },
      failed: (error) => {
        throw error;
      },
      clock: clockAt(now),
      ...rest,
    });
  }

  async blob(name: string): Promise<Digest> {
    const bytes = Buffer.alloc(layerBytes, name);
    const digest = digestOf(bytes);
    await this.blobs.put(digest, bytes);
    await this.catalog.holdBlob(repository("library/any"), digest, layerBytes);
    return digest;
  }

  /** Holds `name:latest`, made of layers with these names. A second apart from the one before. */
  async image(name: string, layers: readonly string[], parts: readonly Digest[] = [], subject?: Digest) {
    this.now += 1000;
    const bytes = Buffer.alloc(
      manifestBytes,
      digestOf(Buffer.from(JSON.stringify([name, layers, parts, subject]))),
    );
    const digest = digestOf(bytes);
    await this.blobs.put(digest, bytes);
    const held = await Promise.all(layers.map((layer) => this.blob(layer)));
    const manifest = { digest, mediaType: ociManifest, size: manifestBytes };
    await this.catalog.holdManifest(repository(name), manifest, [...held, ...parts], subject);
    await this.catalog.resolve(repository(name), latest, manifest, this.now);
    return digest;
  }

  /** Has another repository hold an image too. */
  async copy(digest: Digest, from: string, to: string): Promise<void> {
    if (from === to) return;
    await this.catalog.link(repository(to), digest);
  }

  async has(name: string, digest: Digest): Promise<boolean> {
    const held = await this.catalog.manifest(repository(name), digest);
    return held !== undefined && (await this.blobs.read(digest, manifestBytes)) !== undefined;
  }

  async bytes(): Promise<number> {
    return (await this.eviction.totals()).bytes;
  }

  /** Bytes that really lie on the disk. */
  async onDisk(): Promise<number> {
    return (await Array.fromAsync(this.blobs.list())).reduce((sum, { size }) => sum + size, 0);
  }

  async evict(dryRun: boolean): Promise<Evicted[]> {
    const evicted: Evicted[] = [];
    await this.eviction.evict((one) => evicted.push(one), dryRun);
    return evicted;
  }

  async remove(what: string, dryRun: boolean): Promise<Evicted[]> {
    const evicted: Evicted[] = [];
    await this.eviction.remove(pattern(what), (one) => evicted.push(one), dryRun);
    return evicted;
  }
}

export async function openEviction(options: EvictionSetupOptions = {}): Promise<EvictionSetup> {
  return new EvictionSetup(await DiskBlobs.at(await mkdtemp(join(tmpdir(), "hubcap-eviction-"))), options);
}
