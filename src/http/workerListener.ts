/** The registry listener of a worker: it serves what is held, and forwards everything else to the owner. */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { HeldOnly } from "../mirror/heldOnly.ts";
import type { Routing } from "../oci/target.ts";
import { payerOf } from "../quota/limits.ts";
import type { StreamLimit } from "./limits.ts";
import { isUnambiguous, targetReader, type ReadTarget } from "./registry.ts";
import { commonHeaders, sendBlob, sendManifest, type UnreadBytes } from "./reply.ts";
import { clientOf, RequestRecord, type RecordSinks } from "./requestRecord.ts";

export interface WorkerListenerOptions extends RecordSinks {
  readonly held: HeldOnly;
  readonly routing: Routing;
  readonly forward: RequestListener;
  /** Limits the blobs that this process sends at once. */
  readonly streams: StreamLimit;
  /** Bounds the bodies that wait in memory for clients of this process. */
  readonly unread: UnreadBytes;
  /** For how many ms a client may read nothing of a response. */
  readonly stallMs: number;
}

/** The request listener of the mirror endpoint in a worker. */
export function workerListener(options: WorkerListenerOptions): RequestListener {
  const read = targetReader(options.routing);
  return (incoming, outgoing) => {
    if (isUnambiguous(incoming)) void handle(incoming, outgoing, read, options);
    else outgoing.writeHead(400, { Connection: "close" }).end();
  };
}

async function handle(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  read: ReadTarget,
  options: WorkerListenerOptions,
): Promise<void> {
  const result = await find(incoming, outgoing, read, options).catch(() => undefined);
  if (!result) {
    options.forward(incoming, outgoing);
    return;
  }
  const record = new RequestRecord(incoming, outgoing, options);
  const headers = commonHeaders(result.target.namespace);
  record.begin(result.target);
  record.outcome = "hit";
  if (result.kind === "manifest") {
    const { found } = result;
    record.size = found.manifest.size;
    record.digest = found.manifest.digest;
    sendManifest(outgoing, found, headers);
    return;
  }
  const { found, target } = result;
  record.size = found.size;
  record.digest = target.digest;
  const range = record.isHead ? undefined : incoming.headers.range;
  try {
    await sendBlob(outgoing, found, target.digest, range, headers, options.stallMs);
  } finally {
    result.end?.();
  }
}

/** What is asked for, if the store alone can tell. What cannot be read, or is too much, is refused by the owner. */
async function find(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  read: ReadTarget,
  { held, routing, streams, unread }: WorkerListenerOptions,
) {
  const { method = "", url = "" } = incoming;
  const target = read(method, url);
  if (target.kind !== "manifest" && target.kind !== "blob") return undefined;
  const { repository } = target;
  // The store may still hold content of upstreams that are no longer configured.
  if (!routing.upstreams.has(repository.upstream)) return undefined;
  if (target.kind === "manifest") {
    const found = await held.manifest(repository, target.reference);
    if (found?.bytes) unread.add(outgoing, incoming.socket.remoteAddress ?? "", found.bytes.length);
    return found && { kind: target.kind, target, found };
  }
  const isHead = method === "HEAD";
  const client = clientOf(incoming);
  const end = isHead
    ? undefined
    : streams.begin(payerOf(undefined, incoming.socket.remoteAddress, client), client);
  const found = await held.blob(repository, target.digest, isHead).catch(() => undefined);
  if (found) return { kind: target.kind, target, found, end };
  end?.();
  return undefined;
}
