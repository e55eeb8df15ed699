/** An upstream in memory for model tests: repositories whose one tag moves from version to version. */
import { ociManifest } from "../../src/oci/descriptor.ts";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import { readManifest } from "../../src/oci/manifest.ts";
import { parseTag, type Repository, type RepositoryName, type Tag } from "../../src/oci/reference.ts";
import { UpstreamError } from "../../src/upstream/error.ts";
import type { Upstream } from "../../src/upstream/registry.ts";

/** A version of an image: a manifest, and the blobs that it names. */
export interface Version {
  readonly digest: Digest;
  readonly bytes: Buffer;
  readonly blobs: ReadonlyMap<Digest, Buffer>;
}

export const tag = parseTag("latest") as Tag;

export function shelf(number: number): Repository {
  return { upstream: "docker.io", name: `team/app-${number}` as RepositoryName };
}

/** Version `version` of repository `number`: a layer that all share, one of the repository, and a config of its own. */
export function versionOf(number: number, version: number): Version {
  const names = ["shared", `layer of ${number}`, `config of ${number}, version ${version}`];
  const blobs = new Map(
    names.map((name) => {
      const bytes = Buffer.alloc(1000, name);
      return [digestOf(bytes), bytes] as const;
    }),
  );
  const [shared, own, config] = [...blobs].map(([digest, { length }]) => ({
    mediaType: "application/octet-stream",
    digest,
    size: length,
  }));
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, config, layers: [shared, own] }),
  );
  return { digest: digestOf(bytes), bytes, blobs };
}

export class ShelfUpstream implements Upstream {
  readonly name = "docker.io";
  readonly health = { failures: 0, knownDown: false, isFailing: () => false };
  readonly #versions = new Map<string, Version[]>();
  /** Digests whose bytes were sent since this was last emptied. */
  readonly sent: Digest[] = [];

  /** From now on the tag of repository `number` means this version. */
  push(number: number, version: Version): void {
    const versions = this.#versions.get(shelf(number).name) ?? [];
    versions.push(version);
    this.#versions.set(shelf(number).name, versions);
  }

  async headManifest(repository: Repository, reference: string) {
    const { digest, bytes } = this.#find(repository, reference);
    return { mediaType: ociManifest, digest, size: bytes.length };
  }

  async getManifest(repository: Repository, reference: string) {
    const { digest, bytes } = this.#find(repository, reference);
    this.sent.push(digest);
    return { mediaType: ociManifest, digest, bytes, parsed: readManifest(bytes, ociManifest) };
  }

  async headBlob(repository: Repository, digest: Digest) {
    return { size: this.#blob(repository, digest).length };
  }

  async getBlob(repository: Repository, digest: Digest, offset: number) {
    const bytes = this.#blob(repository, digest);
    this.sent.push(digest);
    async function* body() {
      yield bytes.subarray(offset);
    }
    return { offset, size: bytes.length, body: body(), cancel: () => {} };
  }

  async listTags(): Promise<string[]> {
    return [tag];
  }

  async referrers(): Promise<[]> {
    return [];
  }

  async close(): Promise<void> {}

  #find({ name }: Repository, reference: string): Version {
    const versions = this.#versions.get(name) ?? [];
    const found =
      reference === tag ? versions.at(-1) : versions.find((version) => version.digest === reference);
    if (!found) throw new UpstreamError("absent", `no ${name}:${reference}`);
    return found;
  }

  #blob({ name }: Repository, digest: Digest): Buffer {
    for (const { blobs } of this.#versions.get(name) ?? []) {
      const bytes = blobs.get(digest);
      if (bytes) return bytes;
    }
    throw new UpstreamError("absent", `no ${digest} in ${name}`);
  }
}
