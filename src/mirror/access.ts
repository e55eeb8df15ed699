/** The one check of who may pull what. Whatever answers for a repository passes here first. */
import type { Clock } from "../async/clock.ts";
import { RegistryError } from "../oci/error.ts";
import { formatRepository, isDigest, type Repository } from "../oci/reference.ts";
import type { Visibilities } from "../store/state.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { RequestOptions, Upstream } from "../upstream/registry.ts";
import type { ProbedContent } from "../upstream/visibilityProbe.ts";
import type { PullContext, ClientIdentity } from "./context.ts";
import { unlessAbsent } from "./errors.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import { matchesIdentity, type AccessRule } from "./accessRules.ts";

/** What can be asked of an upstream about who sees what there. */
export interface UpstreamVisibility {
  /** Is it asked with a credential, so that it may have something to hide? */
  readonly hasSecrets: boolean;
  readonly upstream: Upstream;
  /** Does who shows no credential see the repository? @throws UpstreamError */
  readonly isPublic: (
    repository: Repository,
    wanted: ProbedContent,
    asked: RequestOptions,
  ) => Promise<boolean>;
}

export interface AccessOptions {
  /** In order: the first that fits counts. */
  readonly rules: readonly AccessRule[];
  /** By source host. */
  readonly probes: ReadonlyMap<string, UpstreamVisibility>;
  readonly visibilities: Visibilities;
  readonly requests: UpstreamRequests;
  /** For how many ms a repository is taken for public although its upstream cannot be asked any more. */
  readonly staleIfErrorMs: number;
  /** Can clients prove themselves in a header, so that it makes sense to ask them to? */
  readonly challenges: boolean;
  readonly clock: Clock;
}

/** A repository that was public is looked at again after this time, in ms, when it is pulled from. */
const recheckMs = 6 * 60 * 60 * 1000;

export class Access {
  readonly #options: AccessOptions;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /**
   * Settles when `identity` may have what is `wanted` of `repository`.
   * @throws RegistryError as for what is not there, or that a credential is needed; UpstreamError when the upstream would
   * have to decide and does not answer.
   */
  async check(pull: PullContext, wanted: ProbedContent): Promise<void> {
    const { identity, repository, notes } = pull;
    const ruled = this.#ruled(identity, repository);
    if (ruled === "pull") return this.#note(pull, wanted);
    if (ruled !== "deny" && (await this.#isOpen(pull, wanted))) return;
    notes.denied = ruled === "deny" ? "rule" : "private";
    const isKnown = identity.token !== undefined || identity.user !== undefined;
    if (this.#options.challenges && !isKnown) throw new RegistryError("UNAUTHORIZED");
    // The very words for what the upstream does not have.
    const { upstream, name } = repository;
    throw new UpstreamError("absent", `${upstream} has no ${described(wanted, name)}`);
  }

  /** May `identity` know of `repository`, as far as that is known? Sends no request. */
  async mayKnow(identity: ClientIdentity, repository: Repository): Promise<boolean> {
    const ruled = this.#ruled(identity, repository);
    if (ruled) return ruled === "pull";
    const probe = this.#options.probes.get(repository.upstream);
    if (!probe) return false;
    return (await this.#options.visibilities.of(repository))?.isPublic ?? !probe.hasSecrets;
  }

  #ruled(identity: ClientIdentity, repository: Repository): AccessRule["allow"] | undefined {
    if (identity.isOperator) return "pull";
    const fits = (rule: AccessRule): boolean =>
      (rule.upstream === "*" || rule.upstream === repository.upstream) &&
      rule.repositories.some((names) => names.test(repository.name)) &&
      rule.who.some((who) => matchesIdentity(who, identity));
    return this.#options.rules.find(fits)?.allow;
  }

  /** Without a rule: is the repository public? */
  async #isOpen(pull: PullContext, wanted: ProbedContent): Promise<boolean> {
    const probe = this.#options.probes.get(pull.repository.upstream);
    if (!probe) return false;
    return !(await this.#mayHide(probe, pull.repository)) || this.#isPublic(probe, pull, wanted);
  }

  /** Without a credential nothing private is fetched, but what was fetched with one may be held. */
  async #mayHide({ hasSecrets }: UpstreamVisibility, repository: Repository): Promise<boolean> {
    return hasSecrets || (await this.#options.visibilities.of(repository))?.isPublic === false;
  }

  async #isPublic(probe: UpstreamVisibility, pull: PullContext, wanted: ProbedContent): Promise<boolean> {
    const { visibilities, clock, staleIfErrorMs } = this.#options;
    const { repository } = pull;
    const known = await visibilities.of(repository);
    const age = known?.isPublic ? clock.now() - known.checkedAt : Number.POSITIVE_INFINITY;
    if (age >= 0 && age < recheckMs) return true;
    try {
      return await this.#probe(probe, pull, wanted, { isAllowed: false, isKept: known !== undefined });
    } catch (error) {
      // It was public when it was fetched, and nothing says that this has changed.
      if (age <= staleIfErrorMs && error instanceof UpstreamError && isSilence(error)) return true;
      throw error;
    }
  }

  /**
   * To a client that no rule lets in, a hidden repository is a "no" like one that does not exist: it costs the miss limit the
   * same, and is remembered for the same time.
   */
  async #probe(
    { isPublic }: UpstreamVisibility,
    pull: PullContext,
    wanted: ProbedContent,
    { isAllowed, isKept }: { readonly isAllowed: boolean; readonly isKept: boolean },
  ): Promise<boolean> {
    const { visibilities, requests, clock } = this.#options;
    const { repository } = pull;
    const name = formatRepository(repository);
    const send = async (options: RequestOptions): Promise<boolean> => {
      const seen = await isPublic(repository, wanted, options);
      if (!seen && !isAllowed) throw new UpstreamError("absent", `${name} is not public`);
      return seen;
    };
    const seen =
      (await unlessAbsent(requests.share({ about: `visibility ${name}`, want: "headers", send }, pull))) ??
      false;
    // Names that clients make up are hidden too, and must not fill the disk.
    if (seen || isKept) await visibilities.mark(repository, { isPublic: seen, checkedAt: clock.now() });
    return seen;
  }

  /** Finds out, beside a pull that a rule allows, whether what it brings is private. The pull does not wait for it. */
  #note(pull: PullContext, wanted: ProbedContent): void {
    const { repository } = pull;
    const probe = this.#options.probes.get(repository.upstream);
    if (!probe) return;
    void (async () => {
      if (!(await this.#mayHide(probe, repository))) return;
      const known = await this.#options.visibilities.of(repository);
      const age = known ? this.#options.clock.now() - known.checkedAt : Number.POSITIVE_INFINITY;
      if (age >= 0 && age < recheckMs) return;
      const notes = { upstreamMs: 0 };
      await this.#probe(probe, { ...pull, notes }, wanted, { isAllowed: true, isKept: true });
    })().catch(() => {});
  }
}

/** No answer that says anything, as far as access is concerned. */
function isSilence({ kind }: UpstreamError): boolean {
  return kind === "limited" || kind === "unreachable" || kind === "corrupt";
}

function described(wanted: ProbedContent, name: string): string {
  switch (wanted.kind) {
    case "manifest":
      return `manifest ${name}${isDigest(wanted.reference) ? "@" : ":"}${wanted.reference}`;
    case "blob":
      return `blob ${name}@${wanted.digest}`;
    case "tags":
      return `tags of ${name}`;
    case "referrers":
      return `referrers of ${name}@${wanted.subject}`;
  }
}
