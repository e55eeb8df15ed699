/** Pulling lists: a repository's tags and a manifest's referrers, fresh for as long as a tag is. */
import { LRUCache } from "lru-cache";
import type { Clock } from "../async/clock.ts";
import { Semaphore, SingleFlight } from "../async/concurrency.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseDigest, type Digest } from "../oci/digest.ts";
import { formatRepository, type Repository } from "../oci/reference.ts";
import type { Catalog } from "../store/catalog.ts";
import type { RequestOptions } from "../upstream/registry.ts";
import type { PullResult, PullContext } from "./context.ts";
import { staleness } from "./errors.ts";
import { isFresh, mayServeStale, policyAt, type FreshnessPolicy } from "./freshness.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";

/** A whole list for a client; paging and filtering are the listener's. */
export interface ListResult<T> extends PullResult {
  readonly items: readonly T[];
}

export interface ListPullsOptions {
  readonly catalog: Catalog;
  readonly requests: UpstreamRequests;
  readonly freshness: FreshnessPolicy;
  readonly clock: Clock;
}

interface Parsed<T> {
  readonly items: readonly T[];
  readonly checkedAt: number;
  readonly bytes: number;
}

/** Bytes of the listings that are kept parsed, as JSON; parsed they take up to three times as much. Each of Docker Hub's fits. */
const parsedBytes = 32 * 1024 * 1024;

/** A longer body takes more than a millisecond to parse. */
const longBody = 64 * 1024;

export class ListPulls {
  readonly #options: ListPullsOptions;
  readonly #parsed = new LRUCache<string, Parsed<unknown>>({
    maxSize: parsedBytes,
    sizeCalculation: ({ bytes }) => Math.max(1, bytes),
  });
  readonly #reading = new SingleFlight<Parsed<unknown> | undefined>();
  readonly #oneByOne = new Semaphore(1);

  constructor(options: ListPullsOptions) {
    this.#options = options;
  }

  /** All tags of a repository, in the order of their code points. @throws UpstreamError */
  tags(pull: PullContext): Promise<ListResult<string>> {
    return this.#list(pull, "tags", async (options) =>
      (await pull.upstream.registry.listTags(pull.repository, options)).toSorted(),
    );
  }

  /** All manifests whose subject is `subject`. @throws UpstreamError */
  referrers(pull: PullContext, subject: Digest): Promise<ListResult<Descriptor>> {
    return this.#list(pull, subject, (options) =>
      pull.upstream.registry.referrers(pull.repository, subject, options),
    );
  }

  /** The stored listing, read and parsed once and not for every page of it. */
  async #known<T>(repository: Repository, subject: string): Promise<Parsed<T> | undefined> {
    const key = `${formatRepository(repository)} ${subject}`;
    const before = this.#parsed.get(key);
    const isCurrent =
      before && before.checkedAt === (await this.#options.catalog.listedAt(repository, subject));
    const known = isCurrent
      ? before
      : await this.#reading.join(key, () => this.#read(key, repository, subject));
    // Only what `send` gave for this very subject was ever kept under it.
    return known as Parsed<T> | undefined;
  }

  /** One listing at a time, and other requests in between: the largest takes some 100 ms. */
  #read(key: string, repository: Repository, subject: string): Promise<Parsed<unknown> | undefined> {
    return this.#oneByOne.run(async () => {
      const listing = await this.#options.catalog.listing(repository, subject);
      if (!listing) return undefined;
      const { body, checkedAt } = listing;
      if (body.length > longBody) await new Promise(setImmediate);
      const parsed = { items: JSON.parse(body) as readonly unknown[], checkedAt, bytes: body.length };
      this.#parsed.set(key, parsed);
      return parsed;
    });
  }

  /** Referrers of what is not held are not kept: clients can ask for those of any digest. */
  async #isWorthKeeping(repository: Repository, subject: string): Promise<boolean> {
    const digest = parseDigest(subject);
    return !digest || (await this.#options.catalog.manifest(repository, digest)) !== undefined;
  }

  async #list<T>(
    pull: PullContext,
    subject: string,
    send: (options: RequestOptions) => Promise<readonly T[]>,
  ): Promise<ListResult<T>> {
    const { catalog, requests, clock } = this.#options;
    const { upstream, repository } = pull;
    const freshness = policyAt(upstream.quota.state, this.#options.freshness);
    const known = await this.#known<T>(repository, subject);
    const items = known?.items;
    if (items && isFresh(known.checkedAt, clock.now(), freshness)) return { outcome: "hit", items };
    const about = `list ${formatRepository(repository)} ${subject}`;
    const isKnown = known !== undefined;
    try {
      const fetched = await requests.share(
        {
          about,
          want: "content",
          revalidates: isKnown,
          haveStale: isKnown,
          send: async (options) => {
            const list = await send(options);
            if (await this.#isWorthKeeping(repository, subject)) {
              await catalog.keepListing(repository, subject, {
                body: JSON.stringify(list),
                checkedAt: clock.now(),
              });
            }
            return list;
          },
        },
        pull,
      );
      return { outcome: "miss", items: fetched };
    } catch (error) {
      const stale = known && staleness(error, known.checkedAt, clock.now());
      if (items && stale && mayServeStale(known.checkedAt, clock.now(), freshness)) {
        return { outcome: "stale", items, stale };
      }
      throw error;
    }
  }
}
