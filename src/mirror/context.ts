/** A client's request on its way through the mirror, and how it was answered. */
import type { TraceStep } from "../async/step.ts";
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { BucketState, Rehearsal } from "../quota/snapshot.ts";
import type { Upstream } from "../upstream/registry.ts";

/** Clients are answered within 20 s: containerd gives up on headers after 30 s, and a mirror that hangs is worse than none. */
export const patienceMs = 18_000;

/** What a client has proven of itself. */
export interface ClientIdentity {
  /** The name of its token. */
  readonly token?: string;
  /** The user of the password file. */
  readonly user?: string;
  /** The names in its certificate. */
  readonly certificate?: readonly string[];
  /** Its IP address; one of IPv4 as such, also where the socket shows it as one of IPv6. */
  readonly address?: string;
  /** Hubcap itself, or its operator: may pull everything. */
  readonly isOperator?: boolean;
}

/** A client that has proven nothing. */
export const anonymousClient: ClientIdentity = {};

/** Hubcap's own requests, and those with the admin token. */
export const operator: ClientIdentity = { isOperator: true };

/** What is found out on the way and is wanted for the log alone. */
export interface PullNotes {
  /** Milliseconds that the request has waited for upstreams. */
  upstreamMs: number;
  /** Why access was refused, which the answer does not say: by a rule, or because none allows it and the repository is private. */
  denied?: "rule" | "private" | undefined;
}

/** One client's request, as a listener hands it in. */
export interface PullRequest {
  readonly identity: ClientIdentity;
  /** The node's name if the client gave one, else its address. */
  readonly client: string;
  /** Whose limits the request counts in: the client's, by what it has proven, its address and its name. */
  readonly payer: string;
  /** The client's address, which is not its own word. */
  readonly address?: string | undefined;
  readonly userAgent: string;
  /** Only headers are wanted: no bytes, and no pull may be spent to have them. */
  readonly head: boolean;
  /** No client waits: it is fetched ahead, from what pulls and checks of tags leave. */
  readonly warm?: true;
  /** Until when its client should be answered, by the clock's `elapsed()`. */
  readonly deadline: number;
  /** Where its steps are traced. */
  readonly trace?: TraceStep | undefined;
  readonly notes: PullNotes;
}

/** What the mirror needs to know of a bucket. */
export interface QuotaView {
  readonly state: BucketState;
  /** The outage that an operator rehearses. */
  readonly rehearsal: Rehearsal | undefined;
  /** Pulls that new images may spend, once all under way is answered. */
  readonly left: number;
  /** May a free request show that a pull is available again? True at most once in a while. */
  worthAsking(): boolean;
  /** Is a pull set aside for an image of `repository` that was begun? */
  isSetAside(repository: Repository): boolean;
  /** `held` is part of these: what was set aside for it is given back. */
  foundHeld(repository: Repository, held: Digest, partOf: readonly Digest[]): void;
  /** The image that begins with `digest` does not come whole: all that was set aside for it is given back. */
  giveUp(repository: Repository, digest: Digest): void;
}

export interface MirrorUpstream {
  readonly registry: Upstream;
  readonly quota: QuotaView;
  /** With nothing left: 429 for clients to wait, or 503 so that runtimes go to the registry themselves. */
  readonly whenExhausted: "hold" | "fallback";
  /** Other upstreams with the same content, which are asked before a client is refused. */
  readonly alternates: readonly Upstream[];
}

/** A request with the upstream that its repository is pulled from: what every step of a pull is given. */
export interface PullContext extends PullRequest {
  readonly upstream: MirrorUpstream;
  readonly repository: Repository;
  /** A signature has to be fetched with the image: another pull. */
  readonly needsSignature?: boolean;
  /** What is fetched is a signature of this manifest. */
  readonly signatureOf?: Digest;
}

/** Held and served · a running request was joined · held but not confirmed · requested from the upstream. */
export type Outcome = "hit" | "join" | "stale" | "miss";

/** Why an answer is served although its upstream did not confirm it. */
export interface Staleness {
  /** Seconds since the upstream last confirmed it. */
  readonly age: number;
  /** One word for metrics: what kept the upstream from confirming. */
  readonly reason: "limited" | "unreachable" | "corrupt";
  /** One sentence for people. */
  readonly warning: string;
}

/** How an answer came about. */
export interface PullResult {
  readonly outcome: Outcome;
  readonly stale?: Staleness;
}
