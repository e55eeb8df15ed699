/** What may be pulled: the one check that every manifest, blob and list passes, for every client. */
import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import { referenceOf, type Image } from "../oci/image.ts";
import type { Pattern } from "../oci/pattern.ts";
import { formatImage, isDigest, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import type { Blobs } from "../store/blobs.ts";
import type { Catalog, RefusalReason, Verdicts } from "../store/catalog.ts";
import type { Anchors, Proof, Sightings } from "../store/state.ts";
import type { Health } from "../store/health.ts";
import type { PullContext } from "./context.ts";
import type { Explanation } from "./explain.ts";
import { ImmutableTags, type MovedTag } from "./immutable.ts";
import type { ManifestIntake, ManifestResult, ManifestPulls } from "./manifestPull.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import type { BlobResult, BlobPulls } from "./blobPull.ts";
import {
  PolicyRules,
  undecided,
  type RepositoryRules,
  type PolicyRule,
  type Decision,
  type VerifyRule,
} from "./policyRules.ts";
import { ManifestVerdicts } from "./manifestVerdicts.ts";

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
  readonly manifestIntake: Pick<ManifestIntake, "idle">;
  readonly now: () => number;
}

interface Refusal {
  readonly reason: RefusalKind;
  /** Which rule, and what to do. */
  readonly sentence: string;
  /** When it may be different, in ms since the epoch. */
  readonly until?: number;
}

/** May be served · may not · not examined yet. */
type Judgement = "allowed" | "unknown" | Refusal;

/** How many repositories' rules are kept at hand. */
const rememberedRepositories = 1000;

export class Policy {
  /** Is there any rule? Without one, a pull need not ask. */
  readonly hasRules: boolean;
  readonly #options: PolicyOptions;
  readonly #policyRules: PolicyRules;
  #made: ManifestVerdicts | undefined;
  readonly #immutable: ImmutableTags;
  readonly #rules = new LRUCache<string, RepositoryRules>({ max: rememberedRepositories });

  constructor(options: PolicyOptions) {
    const {
      rules,
      verify,
      immutableTags: patterns,
      anchors,
      proof,
      catalog,
      manifestPulls,
      now,
      tell,
    } = options;
    const isStoreTrouble = (error: unknown): boolean => this.#isStoreTrouble(error);
    this.#options = options;
    this.hasRules = rules.length > 0 || verify.length > 0 || patterns.length > 0;
    this.#policyRules = new PolicyRules(rules, verify);
    this.#immutable = new ImmutableTags({
      patterns,
      anchors,
      proof,
      catalog,
      manifestPulls,
      isStoreTrouble,
      moved: tell,
      now,
    });
  }

  /** Forgets what was found out for rules that are gone. */
  async tidy(): Promise<void> {
    try {
      await this.#options.verdicts.prune(this.#policyRules.policies);
      await this.#options.anchors.prune(this.#immutable.covers);
    } catch (error) {
      if (!this.#isStoreTrouble(error)) throw error;
    }
  }

  /** The manifest, if it may be pulled. @throws RegistryError "DENIED" */
  async manifest(pull: PullContext, reference: Reference): Promise<ManifestResult> {
    const rules = this.#rulesFor(pull.repository);
    this.#enforce(pull.repository, byName(rules, reference));
    if (rules.isStrict) return this.#examined(pull, rules, reference);
    return this.#pullManifest(pull, reference);
  }

  /** The manifest, where more than the name of an image decides. */
  async #examined(pull: PullContext, rules: RepositoryRules, reference: Reference): Promise<ManifestResult> {
    const { repository } = pull;
    // Rules ask the catalog which manifest names what.
    await this.#options.manifestIntake.idle(repository);
    const tag = isDigest(reference) ? undefined : reference;
    const foreseen = isDigest(reference) ? await this.#foresee(rules, reference) : "unknown";
    this.#enforce(repository, foreseen);
    const { needsSignature } = rules;
    const result = await this.#pullManifest({ ...pull, needsSignature }, reference);
    await this.#verdicts.noteSighting(repository, result.manifest.digest, tag);
    if (foreseen === "unknown") await this.#examine(pull, rules, result, tag);
    return result;
  }

  #pullManifest(pull: PullContext, reference: Reference): Promise<ManifestResult> {
    return isDigest(reference)
      ? this.#options.manifestPulls.get(pull, reference)
      : this.#immutable.get(pull, reference);
  }

  /** The blob, if it is part of what may be pulled. @throws RegistryError "DENIED" */
  async blob(pull: PullContext, digest: Digest): Promise<BlobResult> {
    const rules = this.#rulesFor(pull.repository);
    this.#enforce(pull.repository, closed(rules));
    if (rules.isStrict) {
      await this.#options.manifestIntake.idle(pull.repository);
      this.#enforce(pull.repository, await this.#partOf(pull, rules, digest));
    }
    return this.#options.blobPulls.get(pull, digest);
  }

  /** May lists of a repository be given? Not if nothing of it may be pulled. @throws RegistryError "DENIED" */
  checkList(repository: Repository): void {
    this.#enforce(repository, closed(this.#rulesFor(repository)));
  }

  /** What a pull of `image` would meet, by `tell`, and by the rules as far as is known without asking the upstream. */
  async explain(
    image: Image,
    tell: (image: Image, needsSignature: boolean) => Promise<Explanation>,
  ): Promise<Explanation> {
    const reference = referenceOf(image);
    const rules = this.#rulesFor(image);
    const first = isDigest(reference) ? undefined : await this.#immutable.first(rules.repository, reference);
    const told = await tell(first ? { ...image, digest: first } : image, rules.needsSignature);
    const explained = { ...told, reference };
    const refused = ({ sentence: why }: Refusal): Explanation => ({
      ...explained,
      wouldAnswer: "refused",
      why,
    });
    const named = byName(rules, reference);
    if (typeof named === "object") return refused(named);
    if (!rules.isStrict || !explained.digest) return explained;
    const tag = isDigest(reference) ? undefined : reference;
    const decisions = await this.#decisionsFor(rules, explained.digest, tag);
    const outcome = await this.#weigh(rules, explained.digest, decisions, (decision) =>
      this.#verdicts.remembered(rules.repository, explained.digest, decision.policy),
    );
    if (typeof outcome === "object") return refused(outcome);
    if (outcome === "allowed" || explained.wouldAnswer === "refused") return explained;
    return { ...explained, why: `${explained.why}; ${decisions[0]?.name} would have it examined first` };
  }

  /** Made when a rule first asks for it: it has space for much, and most often no rule does. */
  get #verdicts(): ManifestVerdicts {
    return (this.#made ??= new ManifestVerdicts(this.#options));
  }

  /** Does this error mean that the store does not answer? Then what it should remember is not remembered, and the pull goes on. */
  #isStoreTrouble(error: unknown): boolean {
    return this.#options.health.note(error) !== undefined;
  }

  #rulesFor({ upstream, name }: Repository): RepositoryRules {
    const key = `${upstream}/${name}`;
    const known = this.#rules.get(key);
    if (known) return known;
    const rules = this.#policyRules.rulesFor({ upstream, name });
    this.#rules.set(key, rules);
    return rules;
  }

  /** What was found out already says of a manifest that is asked for by its digest, so that none is fetched in vain. */
  async #foresee(rules: RepositoryRules, digest: Digest): Promise<Judgement> {
    const decisions = await this.#decisionsFor(rules, digest, undefined);
    return this.#weigh(rules, digest, decisions, (decision) =>
      this.#verdicts.foreseen(rules.repository, digest, decision),
    );
  }

  async #examine(
    pull: PullContext,
    rules: RepositoryRules,
    { manifest, bytes, parsed }: ManifestResult,
    tag: Tag | undefined,
  ): Promise<void> {
    const { repository } = pull;
    const whole = bytes && !pull.head ? { manifest, bytes, parsed } : undefined;
    const decisions = await this.#decisionsFor(rules, manifest.digest, tag);
    const outcome = await this.#weigh(rules, manifest.digest, decisions, (decision) =>
      // For headers nothing is fetched, so they tell only what is known. They give nothing to run either.
      whole
        ? this.#verdicts.of(pull, whole, decision)
        : this.#verdicts.remembered(repository, manifest.digest, decision.policy),
    );
    this.#enforce(repository, outcome);
  }

  /** Is a blob part of a manifest that may be pulled? Those that are held and were not looked at yet are looked at now. */
  async #partOf(pull: PullContext, rules: RepositoryRules, digest: Digest): Promise<Judgement> {
    const { repository, policies } = rules;
    const { verdicts } = this.#options;
    if (await this.#verdicts.isPart(repository, digest, policies)) return "allowed";
    let found: Judgement = {
      reason: "blob",
      sentence: `${formatImage(repository, digest)} is part of no image that may be pulled and that Hubcap has seen: pull the image by its manifest first`,
    };
    for (const namer of await verdicts.namers(repository, digest)) {
      const content = await this.#verdicts.held(repository, namer);
      // Bytes that are gone say nothing for what they named: the next pull of that manifest brings them again.
      if (!content) continue;
      const decisions = await this.#decisionsFor(rules, namer, undefined);
      const outcome = await this.#weigh(rules, namer, decisions, (decision) =>
        pull.head
          ? this.#verdicts.remembered(repository, namer, decision.policy)
          : this.#verdicts.of(pull, content, decision),
      );
      if (typeof outcome === "string") return "allowed";
      found = outcome;
    }
    return found;
  }

  /** A tag goes by its own rule. A digest goes by those of the tags that it was seen under, or of none. */
  async #decisionsFor(
    rules: RepositoryRules,
    digest: Digest,
    tag: Tag | undefined,
  ): Promise<readonly Decision[]> {
    const seen = tag ? [tag] : await this.#tagsSeen(rules.repository, digest);
    const images = seen.length > 0 ? seen.map((tag) => ({ tag, digest })) : [{ digest }];
    return [...new Set(images.map((image) => rules.decisionFor(image)))].filter((r) => r !== undecided);
  }

  /** The tags by which this manifest, or an index that names it, was seen; some, if many. */
  async #tagsSeen(repository: Repository, digest: Digest): Promise<readonly Tag[]> {
    const { verdicts, sightings } = this.#options;
    return sightings.tags(repository, [digest, ...(await verdicts.namersAnywhere(digest))]);
  }

  /** One decision that lets a manifest through is enough. */
  async #weigh(
    { repository }: RepositoryRules,
    digest: Digest,
    decisions: readonly Decision[],
    verdictOf: (decision: Decision) => ReturnType<ManifestVerdicts["remembered"]>,
  ): Promise<Judgement> {
    const what = formatImage(repository, digest);
    let refusal: Refusal | undefined;
    let isOpen = false;
    for (const decision of decisions) {
      const verdict = decision.pull === "deny" ? undefined : await verdictOf(decision);
      if (decision.pull === "deny") {
        refusal ??= denied(decision, what);
      } else if (!verdict) {
        isOpen = true;
      } else if (verdict.refusal) {
        const { reason, why } = verdict.refusal;
        const name =
          reason === "signature" ? (decision.requirements.signature?.name ?? decision.name) : decision.name;
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

  #enforce(repository: Repository, outcome: Judgement): void {
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
function byName(rules: RepositoryRules, reference: Reference): Judgement {
  if (isDigest(reference)) return rules.isStrict ? "unknown" : closed(rules);
  const decision = rules.decisionFor({ tag: reference });
  if (decision === undecided) return "unknown";
  const what = formatImage(rules.repository, reference);
  if (decision.pull === "deny") return denied(decision, what);
  if (!decision.digestOnly) return "allowed";
  const sentence = `${decision.name} refuses ${what}: tags can move, so pull it by its digest, as name@sha256:…`;
  return { reason: "tag", sentence };
}

function closed(rules: RepositoryRules): Judgement {
  const by = rules.closedBy;
  return by ? denied(by, `${rules.repository.upstream}/${rules.repository.name}`) : "allowed";
}

function denied({ name }: Decision, what: string): Refusal {
  return {
    reason: "denied",
    sentence: `${name} denies ${what}: pull another image, or have the rule changed`,
  };
}
