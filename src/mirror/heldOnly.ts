/** What can be answered from catalog and disk alone, by a process that may neither change them nor send requests: everything else is absent. */
import type { Digest } from "../oci/digest.ts";
import { isDigest, type Reference, type Repository } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import { ageSeconds, isFresh } from "./freshness.ts";
import type { BlobResult } from "./blobPull.ts";
import type { ManifestResult } from "./manifestPull.ts";

export interface HeldOnlyOptions {
  readonly catalog: Pick<Catalog, "blob" | "manifest" | "tag">;
  readonly blobs: Pick<Blobs, "open" | "read">;
  /** For how many ms a tag is believed, however much quota is left. */
  readonly tagTtlMs: number;
  readonly now: () => number;
  /** Called for every manifest that is given. */
  readonly used: (repository: Repository, digest: Digest) => void;
}

type HeldManifestAnswer = ManifestResult & Required<Pick<ManifestResult, "bytes">>;

export class HeldOnly {
  readonly #options: HeldOnlyOptions;

  constructor(options: HeldOnlyOptions) {
    this.#options = options;
  }

  /** A manifest that this repository holds, by digest or by a tag that is fresh. */
  async manifest(repository: Repository, reference: Reference): Promise<HeldManifestAnswer | undefined> {
    const { catalog, blobs, used } = this.#options;
    const meant = isDigest(reference) ? { digest: reference } : await this.#meaning(repository, reference);
    const manifest = meant && (await catalog.manifest(repository, meant.digest));
    const bytes = manifest && (await blobs.read(manifest.digest, manifest.size));
    if (!bytes) return undefined;
    used(repository, manifest.digest);
    return { outcome: "hit", manifest, bytes, ...("age" in meant && { age: meant.age }) };
  }

  /** A blob that this repository holds; opened, unless `head`. */
  async blob(repository: Repository, digest: Digest, head: boolean): Promise<BlobResult | undefined> {
    const { catalog, blobs } = this.#options;
    const size = await catalog.blob(repository, digest);
    const content = size === undefined ? undefined : await blobs.open(digest, size);
    if (!content) return undefined;
    if (!head) return { outcome: "hit", size: content.size, content };
    await content.close();
    return { outcome: "hit", size: content.size };
  }

  async #meaning(repository: Repository, tag: Exclude<Reference, Digest>) {
    const { catalog, tagTtlMs } = this.#options;
    const record = await catalog.tag(repository, tag);
    const now = this.#options.now();
    // Whether a tag that has moved is followed depends on what may still be spent.
    if (record?.held?.digest !== record?.descriptor.digest || record?.alternate !== undefined)
      return undefined;
    if (!record || !isFresh(record.checkedAt, now, { tagTtlMs })) return undefined;
    return { digest: record.descriptor.digest, age: ageSeconds(record.checkedAt, now) };
  }
}
