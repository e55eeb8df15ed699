/** Blobs as they arrive: which part of one an answer holds, and its bytes for as long as they come. */
import { UpstreamError } from "./error.ts";
import { connectionError } from "./fault.ts";
import { lengthIn } from "./manifestReply.ts";
import { discard, type Reply } from "./net/wire.ts";

/** A part of a blob on its way. The size is that of the whole blob, in bytes, where the upstream said it. */
export interface BlobStream {
  readonly offset: number;
  readonly size: number | undefined;
  /** Iterating throws UpstreamError "unreachable" when the upstream breaks off or stalls. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Lets go of a body that is not read to its end. */
  cancel(): void;
}

/**
 * The stream of an answer to a request for everything from `offset` on, which may also begin earlier.
 * @throws UpstreamError "corrupt" when it is another part.
 */
export function blobStream(reply: Reply, offset: number): BlobStream {
  const { body, url } = reply;
  const part = reply.status === 206 ? contentRange(reply) : { start: 0, size: lengthIn(reply.headers) };
  if (!part || part.start > offset) {
    discard(reply);
    throw new UpstreamError("corrupt", `${url.host} sent another part of a blob than was asked for`, {
      status: reply.status,
    });
  }
  return {
    offset: part.start,
    size: part.size,
    body: chunks(reply),
    cancel: () => void body.destroy(),
  };
}

async function* chunks({ body, url }: Reply): AsyncGenerator<Uint8Array> {
  try {
    yield* body as AsyncIterable<Buffer>;
  } catch (error) {
    const { message } = connectionError(error, url.host);
    throw new UpstreamError("unreachable", message, { cause: error });
  }
}

/** `Content-Range` (RFC 9110 14.4), or undefined when it is missing or makes no sense. */
function contentRange({ headers }: Reply): { start: number; size: number | undefined } | undefined {
  const text = headers["content-range"];
  const found =
    typeof text === "string" ? /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i.exec(text.trim()) : null;
  if (!found) return undefined;
  const [start, end] = [Number(found[1]), Number(found[2])];
  const size = found[3] === "*" ? undefined : Number(found[3]);
  const isSound = start <= end && (size === undefined || end < size) && Number.isSafeInteger(size ?? end);
  return isSound ? { start, size } : undefined;
}
