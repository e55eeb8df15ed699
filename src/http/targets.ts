/** What requests ask for, read once for each URL: the nodes of a cluster ask for the same few. */
import { LRUCache } from "lru-cache";
import type { Routing } from "../oci/routing.ts";
import { isRead, parseTarget, type Target } from "../oci/target.ts";

/** Bytes of URLs and targets that are kept at most, as far as they can be told. */
const capacity = 4 * 1024 * 1024;

/** About what a target takes, beside its URL. */
const targetBytes = 500;

/** A longer URL is none that clients send again and again. */
const largest = 4096;

/** What a request's method and URL ask for. @throws RegistryError as {@link parseTarget} does */
export type ReadTarget = (method: string, url: string) => Target;

/** Reads targets, and remembers those of the last URLs: to read one takes a tenth of the time of a manifest. */
export function targetReader(routing: Routing): ReadTarget {
  const known = new LRUCache<string, Target>({
    maxSize: capacity,
    maxEntrySize: largest,
    sizeCalculation: (_target, url) => url.length * 2 + targetBytes,
  });
  return (method, url) => {
    const before = isRead(method) ? known.get(url) : undefined;
    if (before) return before;
    const target = parseTarget(method, url, routing);
    known.set(url, target);
    return target;
  };
}
