/** The rules of what may be pulled: which of them decides about an image, and what it asks for. The first that matches counts. */
import { createHash } from "node:crypto";
import type { Digest } from "../oci/digest.ts";
import { matches, mayMatch, type Pattern } from "../oci/pattern.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import type { PolicyName } from "../store/catalog.ts";
import type { SignatureJudge } from "../trust/signature.ts";

/** A platform as a rule names it: without a variant, any will do. */
export interface WantedPlatform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** One of `policy.rules`. Ages are ms, sizes bytes. */
export interface PolicyRule {
  readonly match: readonly Pattern[];
  readonly pull: "allow" | "deny";
  readonly digestOnly: boolean;
  readonly minAge?: number;
  readonly maxSize?: number;
  readonly platforms?: readonly WantedPlatform[];
}

/** One of `verify`: what signature the images of some repositories need; without a `judge`, none. */
export interface VerifyRule {
  readonly repositories: readonly Pattern[];
  readonly judge?: SignatureJudge;
}

/** What must be true of an image beside its name. */
export interface ImageRequirements {
  readonly minAge?: number;
  readonly maxSize?: number;
  readonly platforms?: readonly WantedPlatform[];
  readonly signature?: SignatureJudge;
}

/** What the rules say of an image. */
export interface Decision {
  /** Where the rule stands in the configuration, such as `policy.rules.0 (ghcr.io/**)`. */
  readonly name: string;
  readonly pull: "allow" | "deny";
  readonly digestOnly: boolean;
  readonly requirements: ImageRequirements;
  /** The hash of the requirements. */
  readonly policy: PolicyName;
}

/** Some rule looks at the digest, which is not known yet. */
export const undecided = Symbol("undecided");

interface Entry {
  readonly match: readonly Pattern[];
  readonly decision: Decision;
}

/** The rules that may have a say in one repository. */
export class RepositoryRules {
  readonly repository: Repository;
  /** Does more than the name of an image decide about it? Then its blobs go with its manifests. */
  readonly isStrict: boolean;
  /** Is a signature wanted of any of its images? */
  readonly needsSignature: boolean;
  readonly #entries: readonly Entry[];
  /** What holds where no rule matches. */
  readonly #otherwise: Decision;

  constructor(repository: Repository, entries: readonly Entry[], otherwise: Decision) {
    this.repository = repository;
    this.#entries = entries;
    this.#otherwise = otherwise;
    const decisions = [...entries.map(({ decision }) => decision), otherwise];
    const isDeny = ({ pull }: Decision): boolean => pull === "deny";
    const selects = (wanted: "tag" | "digest") => (entry: Entry) =>
      entry.match.some((pattern) => pattern[wanted] !== undefined);
    this.needsSignature = decisions.some(({ requirements }) => requirements.signature !== undefined);
    this.isStrict =
      decisions.some((decision) => !isDeny(decision) && Object.keys(decision.requirements).length > 0) ||
      (decisions.some(isDeny) && entries.some(selects("digest"))) ||
      (decisions.some(isDeny) && entries.filter(selects("tag")).some(({ decision }) => !isDeny(decision)));
  }

  /** The rule that denies all of the repository, whatever it is asked for. */
  get closedBy(): Decision | undefined {
    const decisions = this.#entries.map(({ decision }) => decision);
    const isOpen = this.#hasOtherwise || decisions.some(({ pull }) => pull === "allow");
    return isOpen ? undefined : decisions.at(-1);
  }

  /** The policies that let something of this repository be served. */
  get policies(): PolicyName[] {
    const decisions = [...this.#entries.map(({ decision }) => decision), this.#otherwise];
    return decisions.filter(({ pull }) => pull === "allow").map(({ policy }) => policy);
  }

  /** What the rules say of an image by what is known of it. */
  decisionFor(image: { readonly tag?: Tag; readonly digest?: Digest }): Decision | typeof undecided {
    const { tag, digest } = image;
    const candidate = {
      repository: this.repository,
      tags: tag === undefined ? [] : [tag],
      ...(digest && { digest }),
    };
    for (const { match, decision } of this.#entries) {
      if (match.some((pattern) => matches(pattern, candidate))) return decision;
      if (!digest && match.some((pattern) => pattern.digest && mayMatch(pattern, this.repository)))
        return undecided;
    }
    return this.#otherwise;
  }

  get #hasOtherwise(): boolean {
    const last = this.#entries.at(-1);
    return !last || !last.match.some((pattern) => isUnconditional(pattern, this.repository));
  }
}

/** All rules, of which each repository has its own {@link RepositoryRules}. */
export class PolicyRules {
  readonly #rules: readonly PolicyRule[];
  readonly #verify: readonly VerifyRule[];

  constructor(rules: readonly PolicyRule[], verify: readonly VerifyRule[]) {
    this.#rules = rules;
    this.#verify = verify;
  }

  /** Every policy that there can be, for any repository. */
  get policies(): PolicyName[] {
    const judges = [undefined, ...this.#verify.map(({ judge }) => judge)];
    const rules = [...this.#rules, unruled];
    return [
      ...new Set(rules.flatMap((rule) => judges.map((judge) => policyOf(requirementsOf(rule, judge))))),
    ];
  }

  rulesFor(repository: Repository): RepositoryRules {
    const isHere = (pattern: Pattern): boolean => mayMatch(pattern, repository);
    const judge = this.#verify.find(({ repositories }) => repositories.some(isHere))?.judge;
    const entries: Entry[] = [];
    for (const [index, rule] of this.#rules.entries()) {
      const match = rule.match.filter(isHere);
      if (match.length === 0) continue;
      const shown = match.map(({ text }) => text).join(", ");
      entries.push({ match, decision: decisionBy(`policy.rules.${index} (${shown})`, rule, judge) });
      // Nothing that comes after it is ever looked at.
      if (match.some((pattern) => isUnconditional(pattern, repository))) break;
    }
    return new RepositoryRules(repository, entries, decisionBy("verify", unruled, judge));
  }
}

const unruled: PolicyRule = { match: [], pull: "allow", digestOnly: false };

function decisionBy(name: string, rule: PolicyRule, judge: SignatureJudge | undefined): Decision {
  const requirements = requirementsOf(rule, judge);
  return {
    name,
    pull: rule.pull,
    digestOnly: rule.digestOnly,
    requirements: requirements,
    policy: policyOf(requirements),
  };
}

function requirementsOf(
  { minAge, maxSize, platforms }: PolicyRule,
  judge: SignatureJudge | undefined,
): ImageRequirements {
  return {
    ...(minAge !== undefined && { minAge }),
    ...(maxSize !== undefined && { maxSize }),
    ...(platforms && { platforms }),
    ...(judge && { signature: judge }),
  };
}

/** To be raised when the same requirements come to other verdicts: those that are kept then no longer hold. */
const judgement = 2;

function policyOf({ signature, ...requirements }: ImageRequirements): PolicyName {
  const text = JSON.stringify([judgement, requirements, signature?.key ?? ""]);
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}

function isUnconditional(pattern: Pattern, repository: Repository): boolean {
  return !pattern.tag && !pattern.digest && mayMatch(pattern, repository);
}
