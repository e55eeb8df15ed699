/** Tags that never move: what one meant first is served for ever, and that its upstream says otherwise now is an alarm. */
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import { matches, type Pattern } from "../oci/pattern.ts";
import { formatImage, type Repository, type Tag } from "../oci/reference.ts";
import type { Catalog } from "../store/catalog.ts";
import type { Anchors, Proof } from "../store/state.ts";
import type { PullContext } from "./context.ts";
import type { ManifestPulls, ManifestResult } from "./manifestPull.ts";

/** A tag that may not move means something else upstream than it did first. */
export interface MovedTag {
  readonly type: "moved";
  readonly repository: Repository;
  readonly tag: Tag;
  /** What is served. */
  readonly first: Digest;
  /** What the upstream says now. */
  readonly now: Digest;
}

export interface ImmutableTagsOptions {
  readonly patterns: readonly Pattern[];
  readonly anchors: Pick<Anchors, "of" | "keep">;
  readonly proof: Pick<Proof, "unprovenSince">;
  readonly catalog: Pick<Catalog, "tag">;
  /** Does this error mean that the store does not answer? Then what it should remember is not remembered, and the pull goes on. */
  readonly isStoreTrouble: (error: unknown) => boolean;
  readonly manifestPulls: Pick<ManifestPulls, "get">;
  readonly moved: (event: MovedTag) => void;
  readonly now: () => number;
}

/** How many tags are known without the catalog, and how many alarms are not repeated. */
const remembered = 10_000;

export class ImmutableTags {
  readonly #options: ImmutableTagsOptions;
  readonly #firsts = new LRUCache<string, Digest>({ max: remembered });
  readonly #alarms = new LRUCache<string, true>({ max: remembered });

  constructor(options: ImmutableTagsOptions) {
    this.#options = options;
  }

  /** Is `tag` one that never moves? */
  readonly covers = (repository: Repository, tag: Tag): boolean =>
    this.#options.patterns.some((pattern) => matches(pattern, { repository, tags: [tag] }));

  /** What `tag` meant first, if it is immutable and ever meant anything. */
  async first(repository: Repository, tag: Tag): Promise<Digest | undefined> {
    if (!this.covers(repository, tag)) return undefined;
    const name = formatImage(repository, tag);
    const known = this.#firsts.get(name) ?? (await this.#anchorOf(repository, tag));
    if (known) {
      this.#firsts.set(name, known);
      return known;
    }
    // What it meant before it was declared immutable counts, unless only an alternate said so.
    const record = await this.#options.catalog.tag(repository, tag);
    if (!record || record.alternate !== undefined) return undefined;
    const { descriptor, held } = record;
    // The upstream may have said something else since, which was never served.
    const { digest } = (await this.#isProven()) ? descriptor : (held ?? descriptor);
    return this.#keep(repository, tag, digest);
  }

  /** The manifest that `tag` means, or, for an immutable one the first that it meant. */
  get(pull: PullContext, tag: Tag): Promise<ManifestResult> {
    if (this.covers(pull.repository, tag)) return this.#getFirst(pull, tag);
    return this.#options.manifestPulls.get(pull, tag);
  }

  async #getFirst(pull: PullContext, tag: Tag): Promise<ManifestResult> {
    const { manifestPulls } = this.#options;
    const { repository } = pull;
    const first = await this.first(repository, tag);
    if (first) {
      void this.#watch(pull, tag, first);
      return manifestPulls.get(pull, first);
    }
    if (!(await this.#isProven())) {
      throw new RegistryError(
        "UNAVAILABLE",
        `${formatImage(repository, tag)} never moves, and what it meant is not known since Hubcap's state was restored: pull it by its digest, or have the operator confirm the state with hubcap fsck --repair`,
      );
    }
    const answer = await manifestPulls.get(pull, tag);
    await answer.stored;
    const { digest } = answer.manifest;
    // An alternate may lag behind: what it says is not to be held on to.
    const record = await this.#options.catalog.tag(repository, tag);
    if (record?.alternate !== undefined) return answer;
    const kept = await this.#keep(repository, tag, digest);
    return kept === digest ? answer : manifestPulls.get(pull, kept);
  }

  /** Undefined also when the store does not answer. */
  async #anchorOf(repository: Repository, tag: Tag): Promise<Digest | undefined> {
    try {
      return await this.#options.anchors.of(repository, tag);
    } catch (error) {
      if (!this.#options.isStoreTrouble(error)) throw error;
      return undefined;
    }
  }

  /** Is a tag without an anchor surely one that never had any? */
  async #isProven(): Promise<boolean> {
    try {
      return (await this.#options.proof.unprovenSince()) === undefined;
    } catch (error) {
      if (!this.#options.isStoreTrouble(error)) throw error;
      return false;
    }
  }

  async #keep(repository: Repository, tag: Tag, digest: Digest): Promise<Digest> {
    const { anchors, isStoreTrouble, now } = this.#options;
    const name = formatImage(repository, tag);
    let kept = this.#firsts.get(name) ?? digest;
    try {
      kept = await anchors.keep(repository, tag, kept, now());
    } catch (error) {
      if (!isStoreTrouble(error)) throw error;
    }
    this.#firsts.set(name, kept);
    return kept;
  }

  /** Sees, beside the answer and at most once per TTL, what the upstream says of the tag now. */
  async #watch(pull: PullContext, tag: Tag, first: Digest): Promise<void> {
    const { repository } = pull;
    const notes = { upstreamMs: 0 };
    let now: Digest;
    try {
      now = (await this.#options.manifestPulls.get({ ...pull, head: true, notes }, tag)).manifest.digest;
    } catch {
      return; // An upstream that does not say what the tag means now does not say that it moved.
    }
    const alarm = `${formatImage(repository, tag)} ${now}`;
    if (now === first || this.#alarms.has(alarm)) return;
    this.#alarms.set(alarm, true);
    this.#options.moved({ type: "moved", repository, tag, first, now });
  }
}
