/** What the stand-in holds: repositories with their tags, manifests and blobs. */
import { createHash } from "node:crypto";
import type { Content } from "../content.ts";
import type { Bundle, ContentDescriptor, ManifestBytes } from "../images.ts";

const indexType = "application/vnd.oci.image.index.v1+json";

interface Shelved {
  readonly tags: Map<string, string>;
  readonly manifests: Map<string, ManifestBytes>;
  readonly blobs: Map<string, Content>;
  /** Accounts that may pull; undefined: everybody. */
  accounts: ReadonlySet<string> | undefined;
}

/** The fields of a manifest that the stand-in reads. */
interface Document {
  readonly manifests?: readonly ContentDescriptor[];
  readonly config?: ContentDescriptor;
  readonly subject?: ContentDescriptor;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export class Shelf {
  readonly #repositories = new Map<string, Shelved>();

  /** Puts a bundle into a repository; without a tag it is known by digest only. */
  push(bundle: Bundle, repository: string, tag?: string): void {
    const shelved = this.#repositories.get(repository) ?? {
      tags: new Map<string, string>(),
      manifests: new Map<string, ManifestBytes>(),
      blobs: new Map<string, Content>(),
      accounts: undefined,
    };
    this.#repositories.set(repository, shelved);
    for (const [digest, manifest] of bundle.manifests) {
      shelved.manifests.set(digest, manifest);
    }
    for (const [digest, content] of bundle.blobs) {
      shelved.blobs.set(digest, content);
    }
    if (tag !== undefined) {
      shelved.tags.set(tag, bundle.root.digest);
    }
  }

  /** Lets a tag name another manifest of its repository. */
  moveTag(repository: string, tag: string, digest: string): void {
    this.#known(repository).tags.set(tag, digest);
  }

  /** Deletes a tag, or by digest a manifest (with its tags) or a blob. */
  delete(repository: string, reference: string): void {
    const shelved = this.#known(repository);
    shelved.tags.delete(reference);
    shelved.manifests.delete(reference);
    shelved.blobs.delete(reference);
    for (const [tag, digest] of shelved.tags) {
      if (digest === reference) {
        shelved.tags.delete(tag);
      }
    }
  }

  /** Hides a repository from everybody but these accounts; undefined shows it to all. */
  restrict(repository: string, accounts: readonly string[] | undefined): void {
    this.#known(repository).accounts = accounts === undefined ? undefined : new Set(accounts);
  }

  /** Whether an account (undefined: anonymous) may pull. An unknown repository looks like a private one. */
  mayPull(repository: string, account: string | undefined): boolean {
    const shelved = this.#repositories.get(repository);
    return (
      shelved !== undefined &&
      (shelved.accounts === undefined || (account !== undefined && shelved.accounts.has(account)))
    );
  }

  /** The manifest that a tag or a digest names. With `tagSchema`, the spec's tag for listing referrers is answered too. */
  manifest(repository: string, reference: string, tagSchema: boolean): ManifestBytes | undefined {
    const shelved = this.#repositories.get(repository);
    const digest = reference.includes(":") ? reference : shelved?.tags.get(reference);
    const manifest = digest === undefined ? undefined : shelved?.manifests.get(digest);
    if (manifest !== undefined) {
      return manifest;
    }
    if (!tagSchema) return undefined;
    // It is a manifest like any other, which is found by its digest too.
    const index = this.#referrersTags(repository).find(({ tag, digest }) =>
      [tag, digest].includes(reference),
    );
    return index && { mediaType: indexType, bytes: index.bytes };
  }

  blob(repository: string, digest: string): Content | undefined {
    return this.#repositories.get(repository)?.blobs.get(digest);
  }

  /** A blob of any repository: the CDN does not know repositories. */
  anyBlob(digest: string): Content | undefined {
    for (const shelved of this.#repositories.values()) {
      const content = shelved.blobs.get(digest);
      if (content !== undefined) {
        return content;
      }
    }
    return undefined;
  }

  /** All tags in lexical order. */
  tags(repository: string): string[] {
    return [...(this.#repositories.get(repository)?.tags.keys() ?? [])].toSorted();
  }

  /** Descriptors of the manifests whose subject is `digest`, as the spec's "Listing Referrers" has them. */
  referrers(repository: string, digest: string): ContentDescriptor[] {
    const found: ContentDescriptor[] = [];
    for (const [name, manifest] of this.#repositories.get(repository)?.manifests ?? []) {
      const document = JSON.parse(manifest.bytes.toString()) as Document;
      if (document.subject?.digest === digest) {
        const artifactType = document.artifactType ?? document.config?.mediaType;
        found.push({
          mediaType: manifest.mediaType,
          digest: name,
          size: manifest.bytes.length,
          ...(artifactType === undefined ? {} : { artifactType }),
          annotations: document.annotations ?? {},
        });
      }
    }
    return found.toSorted((a, b) => (a.digest < b.digest ? -1 : 1));
  }

  /** The indexes that the spec's "Referrers Tag Schema" asks clients that push to keep. */
  #referrersTags(repository: string): { tag: string; digest: string; bytes: Buffer }[] {
    const manifests = this.#repositories.get(repository)?.manifests.values() ?? [];
    const subjects = new Set(
      [...manifests].flatMap(({ bytes }) => (JSON.parse(bytes.toString()) as Document).subject?.digest ?? []),
    );
    return [...subjects].map((subject) => {
      const bytes = indexOf(this.referrers(repository, subject));
      const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
      return { tag: subject.replace(":", "-"), digest, bytes };
    });
  }

  #known(repository: string): Shelved {
    const shelved = this.#repositories.get(repository);
    if (shelved === undefined) {
      throw new Error(`the stand-in has no repository ${repository}`);
    }
    return shelved;
  }
}

/** The bytes of an index of these descriptors. */
export function indexOf(manifests: readonly ContentDescriptor[]): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
}

/** What Docker Hub serves by tag to a client that does not take an index: the linux/amd64 child's digest. */
export function platformChild(index: Buffer): string | undefined {
  const { manifests = [] } = JSON.parse(index.toString()) as Document;
  return manifests.find(({ platform }) => platform?.os === "linux" && platform.architecture === "amd64")
    ?.digest;
}
