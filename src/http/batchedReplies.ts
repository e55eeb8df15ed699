/** Responses that become ready in the same turn of the event loop leave together, and before downloads go on. */
import type { ServerResponse } from "node:http";

type Body = string | Buffer | undefined;

/** How long a body may be to be sent as text. Node allocates memory first for longer ones. */
const shortBytes = 12 * 1024;

let ready: [outgoing: ServerResponse, body: Body][] = [];
let waiting: (() => void)[] = [];

/**
 * Ends a response whose headers are set, with the others of this turn. Sent one by one, each wakes a client that has just gone
 * to sleep; under load that took a third of the CPU of a manifest (docs/performance.md).
 */
export function endBatched(outgoing: ServerResponse, body?: Body): void {
  plan();
  ready.push([outgoing, body]);
}

/** Settles at the end of this turn, when its responses have been sent. */
export function afterReplies(): Promise<void> {
  plan();
  return new Promise((resolve) => waiting.push(resolve));
}

function plan(): void {
  if (ready.length === 0 && waiting.length === 0) setImmediate(finish);
}

function finish(): void {
  const [replies, callbacks] = [ready, waiting];
  [ready, waiting] = [[], []];
  for (const [outgoing, body] of replies) end(outgoing, body);
  for (const call of callbacks) call();
}

function end(outgoing: ServerResponse, body: Body): void {
  if (outgoing.req.method === "HEAD") outgoing.end();
  // As text with one byte a character, a body leaves in one piece with its headers, for a tenth less CPU.
  else if (body instanceof Buffer && body.length <= shortBytes)
    outgoing.end(body.toString("latin1"), "latin1");
  else outgoing.end(body);
}
