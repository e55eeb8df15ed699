/** An upstream as the mirror sees it: the registry, what may still be spent there, and what to do when that is nothing. */
import type { Repository } from "../oci/reference.ts";
import type { Rehearsal, BucketState } from "../quota/snapshot.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { Upstream } from "../upstream/registry.ts";

/** What the mirror needs to know of a bucket. */
export interface QuotaView {
  readonly state: BucketState;
  /** The outage that an operator rehearses. */
  readonly rehearsal: Rehearsal | undefined;
  /** May a free question bring news that a pull has come free? Says so at most once in a while. */
  worthAsking(): boolean;
}

export interface MirrorUpstream {
  readonly upstream: Upstream;
  readonly quota: QuotaView;
  /** With nothing left: 429 for clients to wait, or 503 so that runtimes go to the registry themselves. */
  readonly whenExhausted: "hold" | "fallback";
  /** Other upstreams that have the same content and are asked before a client is refused. */
  readonly alternates: readonly Upstream[];
}

/** A repository, and who is asked about it. */
export interface UpstreamRepository {
  readonly upstream: Upstream;
  readonly repository: Repository;
}

/** What an upstream or, in its place, one of its alternates answered. */
export interface FromUpstream<T> {
  readonly value: T;
  /** The alternate's name; absent when the upstream itself answered. */
  readonly alternate?: string;
}

/**
 * Asks the upstream of `repository`, and when it cannot be asked now, its alternates for the same name.
 * @throws the upstream's error when none of them has an answer.
 */
export async function askWithAlternates<T>(
  { upstream, alternates }: MirrorUpstream,
  repository: Repository,
  ask: (place: UpstreamRepository) => Promise<T>,
): Promise<FromUpstream<T>> {
  try {
    return { value: await ask({ upstream, repository }) };
  } catch (error) {
    if (!(error instanceof UpstreamError) || (error.kind !== "limited" && error.kind !== "unreachable")) {
      throw error;
    }
    for (const other of alternates) {
      try {
        const there = { upstream: other.name, name: repository.name };
        return { value: await ask({ upstream: other, repository: there }), alternate: other.name };
      } catch {
        // What an alternate says of itself helps nobody: it was asked in another's place.
      }
    }
    throw error;
  }
}
