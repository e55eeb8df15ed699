/** Manifests as they arrive: nothing that the upstream says about one is believed that its bytes do not prove. */
import { manifestTypes, maxManifestBytes } from "../oci/descriptor.ts";
import { algorithmOf, digestOf, parseDigest, type Digest } from "../oci/digest.ts";
import { ManifestError, readManifest, type Manifest } from "../oci/manifest.ts";
import { isDigest, type Reference } from "../oci/reference.ts";
import { UpstreamError } from "./error.ts";
import { readBody, type Headers, type Reply } from "./net/wire.ts";

/** A manifest whose bytes are of `digest` and of a kind that we know. */
export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly mediaType: string;
  readonly digest: Digest;
}

/** What the headers of a manifest say, proven by nothing. */
export interface ManifestHead {
  /** One that we know, or empty where the headers tell nothing. */
  readonly mediaType: string;
  /** Undefined where only the manifest itself can tell: the headers do not, or are no manifest's. */
  readonly digest: Digest | undefined;
  /** In bytes. */
  readonly size: number | undefined;
}

/** What is known of a manifest when its upstream tells nothing without sending it. */
export const unknownManifest: ManifestHead = { mediaType: "", digest: undefined, size: undefined };

const withinMs = 30_000;

/** @throws UpstreamError "corrupt" when the headers contradict what was asked for. */
export function resolvedOf({ headers, url }: Reply, reference: Reference): ManifestHead {
  const claimed = claimedDigest(headers, url);
  if (isDigest(reference) && claimed !== undefined && claimed !== reference)
    throw mismatch(url, reference, claimed);
  const mediaType = mediaTypeIn(headers);
  // Whoever answers with something else is perhaps not talking about a manifest at all.
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
  const bytes = await readBody(reply, maxManifestBytes, withinMs);
  const claimed = claimedDigest(headers, url);
  const expected = isDigest(reference) ? [reference, claimed] : [claimed];
  for (const digest of expected) {
    if (digest === undefined) continue;
    const found = digestOf(bytes, algorithmOf(digest));
    if (found !== digest) throw mismatch(url, digest, found);
  }
  const { mediaType } = readAs(reply, bytes);
  return { bytes, mediaType, digest: isDigest(reference) ? reference : (claimed ?? digestOf(bytes)) };
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
