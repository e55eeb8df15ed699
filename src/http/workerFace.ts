/** The registry face of a worker: what is held it answers, and everything else it hands on. */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Held } from "../mirror/held.ts";
import type { Routing } from "../oci/routing.ts";
import { clientOf, Exchange, type Books } from "./exchange.ts";
import { isPull } from "./registry.ts";
import { commonHeaders, sendBlob, sendManifest } from "./reply.ts";
import type { Streams } from "./streams.ts";
import { targetReader, type ReadTarget } from "./targets.ts";

export interface WorkerFaceOptions extends Books {
  readonly held: Held;
  readonly routing: Routing;
  readonly handOn: RequestListener;
  /** The blobs that this process sends. */
  readonly streams: Streams;
  /** For how many ms a client may take nothing of what waits for it. */
  readonly stallMs: number;
}

/** What answers at the mirror endpoint in a worker. */
export function workerFace(options: WorkerFaceOptions): RequestListener {
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
  options: WorkerFaceOptions,
): Promise<void> {
  const answer = await find(incoming, read, options).catch(() => undefined);
  if (!answer) {
    options.handOn(incoming, outgoing);
    return;
  }
  const exchange = new Exchange(incoming, outgoing, options);
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
  const range = exchange.ask.head ? undefined : incoming.headers.range;
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
  { held, routing, streams }: WorkerFaceOptions,
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
