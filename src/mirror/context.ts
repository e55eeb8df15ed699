/** What the face hands in with every request, and what it gets back beside the content. */
import type { TraceStep } from "../async/step.ts";

import type { ClientIdentity } from "./identity.ts";

/** Clients are answered within 20 s: containerd gives up on headers after 30 s, and a mirror that hangs is worse than none. */
export const patienceMs = 18_000;

/** One client's request on its way through the house. */
export interface PullContext {
  /** What the client has proven of itself; absent where nobody asks for that. */
  identity?: ClientIdentity;
  /** Set when it was refused for who it is from, which its answer does not tell: by a rule, or for want of one. */
  denied?: "rule" | "private";
  /** The node's name if it told one, else its address. */
  readonly client: string;
  /** Where it asks from, which is not its own word. */
  readonly address?: string | undefined;
  readonly userAgent: string;
  /** Only what the headers say is wanted: no bytes, and nothing may be fetched or spent to have them. */
  readonly head: boolean;
  /** Nobody waits for it: it is fetched ahead, from what pulls and checks of tags leave. */
  readonly warm?: true;
  /** When, by `performance.now()`, this request has waited for as long as its client should. */
  readonly deadline: number;
  /** Milliseconds that this request has waited for upstreams; added up on the way. */
  upstreamMs: number;
  /** The pull that this request is, while it is traced. */
  trace?: TraceStep;
}

/** Held and served · a running fill was joined · held but not confirmed · had to be asked for. */
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
