/** What may be pulled: the one check that every manifest, blob and list passes, whoever asks and however. */
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import { referenceOf, type Image } from "../oci/image.ts";
import type { Pattern } from "../oci/pattern.ts";
import { formatImage, isDigest, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog } from "../store/catalog.ts";
import type { RefusalReason, Verdicts } from "../store/catalog.ts";
import type { Anchors, Proof, Sightings } from "../store/state.ts";
import type { Health } from "../store/health.ts";
import type { PullContext } from "./context.ts";
import type { Explanation } from "./explain.ts";
import { ImmutableTags, type MovedTag } from "./immutable.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import type { BlobResult, BlobPulls } from "./blobPull.ts";
import type { ManifestResult, ManifestPulls } from "./manifestPull.ts";
import {
  PolicyRules,
  undecided,
  type RepositoryRules,
  type PolicyRule,
  type Decision,
  type VerifyRule,
} from "./policyRules.ts";
import type { MirrorUpstream } from "./alternates.ts";
import { ManifestDecisions } from "./decisions.ts";

/** A pull was refused by a rule. */
export interface Refused {
  readonly type: "refused";
  readonly repository: Repository;
  readonly reason: RefusalKind;
}

/** Why: a rule denies it, asks for a digest, or demands more; or a blob belongs to nothing that is allowed. */
export type RefusalKind = "denied" | "tag" | "blob" | RefusalReason;

export type PolicyEvent = Refused | MovedTag;

/** What an operator wants of images, and where what is found out about them is kept. */
export interface PolicySettings {
  readonly rules: readonly PolicyRule[];
  readonly verify: readonly VerifyRule[];
  readonly immutableTags: readonly Pattern[];
  readonly verdicts: Verdicts;
  readonly anchors: Anchors;
  readonly proof: Pick<Proof, "unprovenSince">;
  readonly sightings: Sightings;
  readonly tell: (event: PolicyEvent) => void;
}

export interface PolicyOptions extends PolicySettings {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly health: Pick<Health, "note">;
  readonly manifestPulls: Pick<ManifestPulls, "get">;
  readonly blobPulls: Pick<BlobPulls, "get">;
  readonly requests: UpstreamRequests;
  readonly now: () => number;
}

interface Refusal {
  readonly reason: RefusalKind;
  /** Which rule, and what to do. */
  readonly sentence: string;
  /** When it may be different, in ms since the epoch. */
  readonly until?: number;
}

/** May be served · may not · nobody has looked yet. */
type Outcome = "allowed" | "unknown" | Refusal;

/** How many repositories' rules are kept at hand. */
const chapters = 1000;

export class Policy {
  readonly #options: PolicyOptions;
  readonly #book: PolicyRules;
  #made: ManifestDecisions | undefined;
  readonly #immutable: ImmutableTags;
  readonly #chapters = new LRUCache<string, RepositoryRules>({ max: chapters });

  constructor(options: PolicyOptions) {
    const { rules, verify, immutableTags: patterns, anchors, proof, catalog, now, tell } = options;
    const forgives = (error: unknown): boolean => this.#forgives(error);
    this.#options = options;
    this.#book = new PolicyRules(rules, verify);
    this.#immutable = new ImmutableTags({ patterns, anchors, proof, catalog, forgives, moved: tell, now });
  }

  /** Forgets what was found out for rules that are gone. */
  async tidy(): Promise<void> {
    try {
      await this.#options.verdicts.prune(this.#book.policies);
      await this.#options.anchors.prune(this.#immutable.covers);
    } catch (error) {
      if (!this.#forgives(error)) throw error;
    }
  }

  /** The manifest, if it may be pulled. @throws RegistryError "DENIED" */
  async manifest(
    served: MirrorUpstream,
    repository: Repository,
    reference: Reference,
    ask: PullContext,
  ): Promise<ManifestResult> {
    const get = (reference: Reference, ask: PullContext): Promise<ManifestResult> =>
      this.#options.manifestPulls.get(served, repository, reference, ask);
    const chapter = this.#chapter(repository);
    this.#admit(repository, byName(chapter, reference));
    if (isDigest(reference)) {
      const foreseen = chapter.isStrict ? await this.#foresee(chapter, reference) : undefined;
      if (foreseen) this.#admit(repository, foreseen);
      const answer = await get(reference, ask);
      if (!foreseen) return answer;
      await this.#verdicts.sight(repository, reference, undefined);
      if (foreseen === "unknown") await this.#examine(served, chapter, answer, undefined, ask);
      return answer;
    }
    const answer = await this.#immutable.get(repository, reference, ask, get);
    if (chapter.isStrict) {
      await this.#verdicts.sight(repository, answer.manifest.digest, reference);
      await this.#examine(served, chapter, answer, reference, ask);
    }
    return answer;
  }

  /** The blob, if it is part of what may be pulled. @throws RegistryError "DENIED" */
  async blob(
    served: MirrorUpstream,
    repository: Repository,
    digest: Digest,
    ask: PullContext,
  ): Promise<BlobResult> {
    const chapter = this.#chapter(repository);
    this.#admit(repository, closed(chapter));
    if (chapter.isStrict) this.#admit(repository, await this.#partOf(served, chapter, digest, ask));
    return this.#options.blobPulls.get(served, repository, digest, ask);
  }

  /** Lists tell of a repository, so one of which nothing may be pulled has none. @throws RegistryError "DENIED" */
  async list<T>(repository: Repository, get: () => Promise<T>): Promise<T> {
    this.#admit(repository, closed(this.#chapter(repository)));
    return get();
  }

  /** What a pull of `image` would meet, by `tell`, and by the rules as far as is known without asking anybody. */
  async explain(image: Image, tell: (image: Image) => Promise<Explanation>): Promise<Explanation> {
    const reference = referenceOf(image);
    const chapter = this.#chapter(image);
    const first = isDigest(reference)
      ? undefined
      : await this.#immutable.first(chapter.repository, reference);
    const told = { ...(await tell(first ? { ...image, digest: first } : image)), reference };
    const refused = ({ sentence: why }: Refusal): Explanation => ({ ...told, wouldAnswer: "refused", why });
    const named = byName(chapter, reference);
    if (typeof named === "object") return refused(named);
    if (!chapter.isStrict || !told.digest) return told;
    const tag = isDigest(reference) ? undefined : reference;
    const rulings = await this.#rulings(chapter, told.digest, tag);
    const outcome = await this.#weigh(chapter, told.digest, rulings, (ruling) =>
      this.#verdicts.remembered(chapter.repository, told.digest, ruling.policy),
    );
    if (typeof outcome === "object") return refused(outcome);
    if (outcome === "allowed" || told.wouldAnswer === "refused") return told;
    return { ...told, why: `${told.why}; ${rulings[0]?.name} would have it examined first` };
  }

  /** Made when a rule first asks for it: it has room for much, and where nothing is demanded of images nobody needs it. */
  get #verdicts(): ManifestDecisions {
    return (this.#made ??= new ManifestDecisions({
      ...this.#options,
      forgives: (error) => this.#forgives(error),
    }));
  }

  /** Is a disk to blame that does not take what is to be remembered? */
  #forgives(error: unknown): boolean {
    return this.#options.health.note(error) !== undefined;
  }

  #chapter({ upstream, name }: Repository): RepositoryRules {
    const key = `${upstream}/${name}`;
    const known = this.#chapters.get(key);
    if (known) return known;
    const chapter = this.#book.rulesFor({ upstream, name });
    this.#chapters.set(key, chapter);
    return chapter;
  }

  /** What was found out already says of a manifest that is asked for by its digest, so that none is fetched in vain. */
  async #foresee(chapter: RepositoryRules, digest: Digest): Promise<Outcome> {
    const rulings = await this.#rulings(chapter, digest, undefined);
    return this.#weigh(chapter, digest, rulings, (ruling) =>
      this.#verdicts.foreseen(chapter.repository, digest, ruling),
    );
  }

  async #examine(
    served: MirrorUpstream,
    chapter: RepositoryRules,
    { manifest, bytes }: ManifestResult,
    tag: Tag | undefined,
    ask: PullContext,
  ): Promise<void> {
    const { repository } = chapter;
    const rulings = await this.#rulings(chapter, manifest.digest, tag);
    const outcome = await this.#weigh(chapter, manifest.digest, rulings, (ruling) =>
      // For headers nothing is fetched, so they tell only what is known. They give nothing to run either.
      bytes && !ask.head
        ? this.#verdicts.of(served, repository, { manifest, bytes }, ruling, ask)
        : this.#verdicts.remembered(repository, manifest.digest, ruling.policy),
    );
    this.#admit(repository, outcome);
  }

  /** Is a blob part of a manifest that may be pulled? Those that are held and were not looked at yet are looked at now. */
  async #partOf(
    served: MirrorUpstream,
    chapter: RepositoryRules,
    digest: Digest,
    ask: PullContext,
  ): Promise<Outcome> {
    const { repository, policies } = chapter;
    const { verdicts } = this.#options;
    if (await this.#verdicts.isPart(repository, digest, policies)) return "allowed";
    let found: Outcome = {
      reason: "blob",
      sentence: `${formatImage(repository, digest)} is part of no image that may be pulled and that Hubcap has seen: pull the image by its manifest first`,
    };
    for (const namer of await verdicts.namers(repository, digest)) {
      const content = await this.#verdicts.held(repository, namer);
      // Bytes that are gone say nothing for what they named: the next pull of that manifest brings them again.
      if (!content) continue;
      const rulings = await this.#rulings(chapter, namer, undefined);
      const outcome = await this.#weigh(chapter, namer, rulings, (ruling) =>
        ask.head
          ? this.#verdicts.remembered(repository, namer, ruling.policy)
          : this.#verdicts.of(served, repository, content, ruling, ask),
      );
      if (typeof outcome === "string") return "allowed";
      found = outcome;
    }
    return found;
  }

  /** A tag goes by its own rule. A digest goes by those of the tags that it was seen under, or of none. */
  async #rulings(
    chapter: RepositoryRules,
    digest: Digest,
    tag: Tag | undefined,
  ): Promise<readonly Decision[]> {
    const seen = tag ? [tag] : await this.#tagsSeen(chapter.repository, digest);
    const images = seen.length > 0 ? seen.map((tag) => ({ tag, digest })) : [{ digest }];
    return [...new Set(images.map((image) => chapter.decisionFor(image)))].filter((r) => r !== undecided);
  }

  /** The tags by which this manifest, or an index that names it, was seen; some, if many. */
  async #tagsSeen(repository: Repository, digest: Digest): Promise<readonly Tag[]> {
    const { verdicts, sightings } = this.#options;
    return sightings.tags(repository, [digest, ...(await verdicts.namersAnywhere(digest))]);
  }

  /** One ruling that lets a manifest through is enough. */
  async #weigh(
    { repository }: RepositoryRules,
    digest: Digest,
    rulings: readonly Decision[],
    verdictOf: (ruling: Decision) => ReturnType<ManifestDecisions["remembered"]>,
  ): Promise<Outcome> {
    const what = formatImage(repository, digest);
    let refusal: Refusal | undefined;
    let isOpen = false;
    for (const ruling of rulings) {
      const verdict = ruling.pull === "deny" ? undefined : await verdictOf(ruling);
      if (ruling.pull === "deny") {
        refusal ??= denied(ruling, what);
      } else if (!verdict) {
        isOpen = true;
      } else if (verdict.refusal) {
        const { reason, why } = verdict.refusal;
        const name =
          reason === "signature" ? (ruling.requirements.signature?.name ?? ruling.name) : ruling.name;
        refusal ??= {
          reason,
          sentence: `${name} refuses ${what}: ${why}`,
          ...(verdict.until !== undefined && { until: verdict.until }),
        };
      } else {
        return "allowed";
      }
    }
    return isOpen || !refusal ? "unknown" : refusal;
  }

  #admit(repository: Repository, outcome: Outcome): void {
    if (typeof outcome === "string") return;
    const { tell, now } = this.#options;
    const { reason, sentence, until } = outcome;
    tell({ type: "refused", repository, reason });
    const retryAfter =
      until === undefined ? {} : { retryAfter: Math.max(1, Math.ceil((until - now()) / 1000)) };
    throw new RegistryError("DENIED", sentence, { ...retryAfter, reason: "denied-by-policy" });
  }
}

/** What can be said of a reference before anything is asked. */
function byName(chapter: RepositoryRules, reference: Reference): Outcome {
  if (isDigest(reference)) return chapter.isStrict ? "unknown" : closed(chapter);
  const ruling = chapter.decisionFor({ tag: reference });
  if (ruling === undecided) return "unknown";
  const what = formatImage(chapter.repository, reference);
  if (ruling.pull === "deny") return denied(ruling, what);
  if (!ruling.digestOnly) return "allowed";
  const sentence = `${ruling.name} refuses ${what}: tags can move, so pull it by its digest, as name@sha256:…`;
  return { reason: "tag", sentence };
}

function closed(chapter: RepositoryRules): Outcome {
  const by = chapter.closedBy;
  return by ? denied(by, `${chapter.repository.upstream}/${chapter.repository.name}`) : "allowed";
}

function denied({ name }: Decision, what: string): Refusal {
  return {
    reason: "denied",
    sentence: `${name} denies ${what}: pull another image, or have the rule changed`,
  };
}
