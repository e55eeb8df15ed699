/** Manifests and blobs in replies: what the upstream says of a manifest is believed only if its bytes prove it. */
import { manifestTypes, maxManifestBytes } from "../oci/descriptor.ts";
import { algorithmOf, digestOf, parseDigest, type Digest } from "../oci/digest.ts";
import { ManifestError, readManifest, type Manifest } from "../oci/manifest.ts";
import { isDigest, type Reference } from "../oci/reference.ts";
import { UpstreamError, connectionError } from "./error.ts";
import type { Headers } from "../quota/limits.ts";
import type { Reply } from "./net/httpClient.ts";

/** A manifest whose bytes are of `digest` and of a kind that we know. */
export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: Digest;
  /** What the bytes say. */
  readonly parsed: Manifest;
}

/** What the headers of a manifest say, proven by nothing. */
export interface ManifestHead {
  /** One that we know; empty where the headers name none. */
  readonly mediaType: string;
  /** Undefined where only the bytes can tell: the headers name none, or are not a manifest's. */
  readonly digest: Digest | undefined;
  /** In bytes. */
  readonly size: number | undefined;
}

/** Of an upstream whose replies to HEAD say nothing. */
export const unknownManifest: ManifestHead = { mediaType: "", digest: undefined, size: undefined };

const withinMs = 30_000;

/** @throws UpstreamError "corrupt" when the headers contradict what was asked for. */
export function resolvedOf({ headers, url }: Reply, reference: Reference): ManifestHead {
  const claimed = claimedDigest(headers, url);
  if (isDigest(reference) && claimed !== undefined && claimed !== reference)
    throw mismatch(url, reference, claimed);
  const mediaType = mediaTypeIn(headers);
  // With another type the reply may not be about a manifest at all.
  if (!manifestTypes.includes(mediaType)) return unknownManifest;
  return {
    mediaType,
    digest: isDigest(reference) ? reference : claimed,
    size: lengthIn(headers),
  };
}

/** @throws UpstreamError "corrupt" when the bytes are not what was asked for, or not what the upstream says they are. */
export async function fetchedManifest(reply: Reply, reference: Reference): Promise<FetchedManifest> {
  const { headers, url } = reply;
  const bytes = await reply.read(maxManifestBytes, withinMs);
  const claimed = claimedDigest(headers, url);
  const expected = isDigest(reference) ? [reference, claimed] : [claimed];
  for (const digest of expected) {
    if (digest === undefined) continue;
    const found = digestOf(bytes, algorithmOf(digest));
    if (found !== digest) throw mismatch(url, digest, found);
  }
  const parsed = readAs(reply, bytes);
  const { mediaType } = parsed;
  return { bytes, mediaType, parsed, digest: isDigest(reference) ? reference : (claimed ?? digestOf(bytes)) };
}

/** The manifest that a whole body is. @throws UpstreamError "corrupt" when it is none. */
export function readAs({ headers, url }: Reply, bytes: Buffer): Manifest {
  try {
    const type = headers["content-type"];
    return readManifest(bytes, typeof type === "string" ? type : "");
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    throw new UpstreamError("corrupt", `${url.host} sent a manifest that is not accepted: ${error.message}`, {
      cause: error,
    });
  }
}

/** The length that the headers give, in bytes. */
export function lengthIn(headers: Headers): number | undefined {
  const text = headers["content-length"];
  const length = typeof text === "string" && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : undefined;
}

function mediaTypeIn(headers: Headers): string {
  const type = headers["content-type"];
  return typeof type === "string" ? (type.split(";")[0] ?? "").trim().toLowerCase() : "";
}

function claimedDigest(headers: Headers, url: URL): Digest | undefined {
  const text = headers["docker-content-digest"];
  if (text === undefined) return undefined;
  const digest = typeof text === "string" ? parseDigest(text) : undefined;
  if (!digest)
    throw new UpstreamError("corrupt", `${url.host} sent a Docker-Content-Digest that is no digest`);
  return digest;
}

function mismatch(url: URL, expected: Digest, found: Digest): UpstreamError {
  return new UpstreamError(
    "corrupt",
    `${url.host} sent a manifest with another digest: expected ${expected}, found ${found}`,
  );
}

/** A part of a blob on its way. The size is that of the whole blob, in bytes, where the upstream said it. */
export interface BlobStream {
  readonly offset: number;
  readonly size: number | undefined;
  /** Iterating throws UpstreamError "unreachable" when the upstream breaks off or stalls. */
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends a body that is not read to its end. */
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
    reply.discard();
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
