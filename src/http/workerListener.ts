/** The registry face of a worker: what is held it answers, and everything else it hands on. */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { HeldOnly } from "../mirror/heldOnly.ts";
import type { Routing } from "../oci/routing.ts";
import { clientOf, RequestRecord, type RecordSinks } from "./requestRecord.ts";
import { isPull, type ReadTarget, targetReader } from "./registry.ts";
import { commonHeaders, sendBlob, sendManifest } from "./reply.ts";
import type { StreamLimit } from "./limits.ts";

export interface WorkerListenerOptions extends RecordSinks {
  readonly held: HeldOnly;
  readonly routing: Routing;
  readonly handOn: RequestListener;
  /** The blobs that this process sends. */
  readonly streams: StreamLimit;
  /** For how many ms a client may take nothing of what waits for it. */
  readonly stallMs: number;
}

/** What answers at the mirror endpoint in a worker. */
export function workerListener(options: WorkerListenerOptions): RequestListener {
  const read = targetReader(options.routing);
  return (incoming, outgoing) => {
    if (isPull(incoming)) void respond(incoming, outgoing, read, options);
    else outgoing.writeHead(400, { Connection: "close" }).end();
  };
}

async function respond(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  read: ReadTarget,
  options: WorkerListenerOptions,
): Promise<void> {
  const answer = await find(incoming, read, options).catch(() => undefined);
  if (!answer) {
    options.handOn(incoming, outgoing);
    return;
  }
  const exchange = new RequestRecord(incoming, outgoing, options);
  const { target } = answer;
  const headers = commonHeaders(target.namespace);
  exchange.begin(target);
  exchange.outcome = "hit";
  if (answer.kind === "manifest") {
    const { found } = answer;
    exchange.size = found.manifest.size;
    exchange.digest = found.manifest.digest;
    sendManifest(outgoing, found, headers);
    return;
  }
  const { found, target: blob } = answer;
  exchange.size = found.size;
  exchange.digest = blob.digest;
  const range = exchange.context.head ? undefined : incoming.headers.range;
  try {
    await sendBlob(outgoing, found, blob.digest, range, headers, options.stallMs);
  } finally {
    answer.end?.();
  }
}

/** The answer, when the catalog is all that it takes. What cannot be read, or is too much, is refused by who is asked instead. */
async function find(
  incoming: IncomingMessage,
  read: ReadTarget,
  { held, routing, streams }: WorkerListenerOptions,
) {
  const { method = "", url = "" } = incoming;
  const target = read(method, url);
  if (target.kind !== "manifest" && target.kind !== "blob") return undefined;
  const { repository } = target;
  // What was held for an upstream that is no longer configured is nobody's.
  if (!routing.upstreams.has(repository.upstream)) return undefined;
  if (target.kind === "manifest") {
    const found = await held.manifest(repository, target.reference);
    return found && { kind: target.kind, target, found };
  }
  const isHead = method === "HEAD";
  const end = isHead ? undefined : streams.begin(clientOf(incoming));
  const found = await held.blob(repository, target.digest, isHead).catch(() => undefined);
  if (found) return { kind: target.kind, target, found, end };
  end?.();
  return undefined;
}
