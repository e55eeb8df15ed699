/** Pulling lists: a repository's tags and a manifest's referrers, fresh for as long as a tag is. */
import type { Descriptor } from "../oci/descriptor.ts";
import { parseDigest, type Digest } from "../oci/digest.ts";
import { formatRepository, type Repository } from "../oci/reference.ts";
import type { Catalog } from "../store/catalog.ts";
import type { RequestOptions } from "../upstream/registry.ts";
import type { PullResult, PullContext } from "./context.ts";
import { staleness } from "./errors.ts";
import { isFresh, mayServeStale } from "./freshness.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import { policyAt, type QuotaPolicy } from "./quotaPolicy.ts";
import type { MirrorUpstream } from "./alternates.ts";

/** A whole list for a client; paging and filtering are the face's. */
export interface ListResult<T> extends PullResult {
  readonly items: readonly T[];
}

export interface ListPullsOptions {
  readonly catalog: Catalog;
  readonly requests: UpstreamRequests;
  readonly freshness: QuotaPolicy;
  readonly now: () => number;
}

export class ListPulls {
  readonly #options: ListPullsOptions;

  constructor(options: ListPullsOptions) {
    this.#options = options;
  }

  /** All tags of a repository, in the order of their code points. @throws UpstreamError */
  tags(served: MirrorUpstream, repository: Repository, ask: PullContext): Promise<ListResult<string>> {
    return this.#list(served, repository, "tags", ask, async (asked) =>
      (await served.upstream.listTags(repository, asked)).toSorted(),
    );
  }

  /** All manifests whose subject is `subject`. @throws UpstreamError */
  referrers(
    served: MirrorUpstream,
    repository: Repository,
    subject: Digest,
    ask: PullContext,
  ): Promise<ListResult<Descriptor>> {
    return this.#list(served, repository, subject, ask, (asked) =>
      served.upstream.referrers(repository, subject, asked),
    );
  }

  /** Referrers of what is not held are not kept: anybody can ask for those of a digest that nobody has. */
  async #isWorthKeeping(repository: Repository, subject: string): Promise<boolean> {
    const digest = parseDigest(subject);
    return !digest || (await this.#options.catalog.manifest(repository, digest)) !== undefined;
  }

  async #list<T>(
    served: MirrorUpstream,
    repository: Repository,
    subject: string,
    ask: PullContext,
    send: (asked: RequestOptions) => Promise<readonly T[]>,
  ): Promise<ListResult<T>> {
    const { catalog, requests: inquiries, now } = this.#options;
    const { upstream, quota } = served;
    const freshness = policyAt(quota.state, this.#options.freshness);
    const known = await catalog.listing(repository, subject);
    // Only what `send` gave for this very subject was ever kept under it.
    const items = known && (JSON.parse(known.body) as T[]);
    if (items && isFresh(known.checkedAt, now(), freshness)) return { outcome: "hit", items };
    const about = `list ${formatRepository(repository)} ${subject}`;
    const reason = known ? "revalidate" : "pull";
    const haveStale = known !== undefined;
    try {
      const fetched = await inquiries.share(
        {
          upstream,
          about,
          want: "content",
          reason,
          haveStale,
          send: async (asked) => {
            const list = await send(asked);
            if (await this.#isWorthKeeping(repository, subject)) {
              await catalog.keepListing(repository, subject, {
                body: JSON.stringify(list),
                checkedAt: now(),
              });
            }
            return list;
          },
        },
        ask,
      );
      return { outcome: "miss", items: fetched };
    } catch (error) {
      const stale = known && staleness(error, known.checkedAt, now());
      if (items && stale && mayServeStale(known.checkedAt, now(), freshness)) {
        return { outcome: "stale", items, stale };
      }
      throw error;
    }
  }
}
