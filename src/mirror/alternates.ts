/** An upstream as the mirror sees it, and the alternates that are asked in its place. */
import type { Repository } from "../oci/reference.ts";
import type { Rehearsal, BucketState } from "../quota/snapshot.ts";
import { UpstreamError } from "../upstream/error.ts";
import type { Upstream } from "../upstream/registry.ts";

/** What the mirror needs to know of a bucket. */
export interface QuotaView {
  readonly state: BucketState;
  /** The outage that an operator rehearses. */
  readonly rehearsal: Rehearsal | undefined;
  /** May a free request show that a pull is available again? True at most once in a while. */
  worthAsking(): boolean;
}

export interface MirrorUpstream {
  readonly registry: Upstream;
  readonly quota: QuotaView;
  /** With nothing left: 429 for clients to wait, or 503 so that runtimes go to the registry themselves. */
  readonly whenExhausted: "hold" | "fallback";
  /** Other upstreams with the same content, which are asked before a client is refused. */
  readonly alternates: readonly Upstream[];
}

/** A repository, and the registry that is asked for it. */
export interface UpstreamRepository {
  readonly registry: Upstream;
  readonly repository: Repository;
}

/** What an upstream or, in its place, one of its alternates answered. */
export interface FromUpstream<T> {
  readonly value: T;
  /** The alternate's name; absent when the upstream itself answered. */
  readonly alternate?: string;
}

/**
 * What `send` gives for the upstream of `repository`, or, when that cannot be asked now, for the first alternate that answers.
 * @throws the upstream's error when none of them answers.
 */
export async function withAlternates<T>(
  { upstream, repository }: { readonly upstream: MirrorUpstream; readonly repository: Repository },
  send: (source: UpstreamRepository) => Promise<T>,
): Promise<FromUpstream<T>> {
  const { registry, alternates } = upstream;
  try {
    return { value: await send({ registry, repository }) };
  } catch (error) {
    if (!(error instanceof UpstreamError) || (error.kind !== "limited" && error.kind !== "unreachable")) {
      throw error;
    }
    for (const other of alternates) {
      try {
        const there = { upstream: other.name, name: repository.name };
        return { value: await send({ registry: other, repository: there }), alternate: other.name };
      } catch {
        // An alternate's own error says nothing about the upstream that was asked for.
      }
    }
    throw error;
  }
}
