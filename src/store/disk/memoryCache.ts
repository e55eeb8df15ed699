/** The small blobs that were read last, kept in memory: the same few manifests are asked for again and again. */
import { Semaphore, SingleFlight } from "../../async/concurrency.ts";
import { LRUCache } from "lru-cache";
import type { Digest } from "../../oci/digest.ts";
import type { Blobs } from "../blobs.ts";

/** Bytes kept at most. Manifests are a few kilobytes, so these are thousands of them. */
const capacity = 32 * 1024 * 1024;

/** A larger blob would drive out many small ones. */
const largest = 1024 * 1024;

/** So many larger ones are read at once, each for all who want it. */
const largeAtOnce = 4;

/** `blobs`, with {@link Blobs.read} from memory where it can be. Bytes never change under their digest; only removal matters. */
export function withMemoryCache(blobs: Blobs): Blobs {
  const recent = new LRUCache<Digest, Buffer>({
    maxSize: capacity,
    maxEntrySize: largest,
    sizeCalculation: (bytes) => Math.max(1, bytes.length),
  });
  const reading = new SingleFlight<Buffer | undefined>();
  const large = new Semaphore(largeAtOnce);
  return {
    open: (digest, size) => blobs.open(digest, size),
    size: (digest) => blobs.size(digest),
    kept: (digest) => blobs.kept(digest),
    keptInAll: () => blobs.keptInAll(),
    ingest: (digest) => blobs.ingest(digest),
    put: (digest, bytes) => blobs.put(digest, bytes),
    list: () => blobs.list(),
    async read(digest, size) {
      const known = recent.get(digest);
      if (known) return known.length === size ? known : undefined;
      const read = (): Promise<Buffer | undefined> => blobs.read(digest, size);
      const bytes = await reading.join(`${digest} ${size}`, () =>
        size > largest ? large.run(read) : read(),
      );
      if (bytes) recent.set(digest, bytes);
      return bytes;
    },
    async remove(digest) {
      recent.delete(digest);
      return blobs.remove(digest);
    },
    async quarantine(digest) {
      recent.delete(digest);
      return blobs.quarantine(digest);
    },
  };
}
