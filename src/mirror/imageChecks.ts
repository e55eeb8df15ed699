/** What a rule requires of one image, held against its manifest and its config. */
import type { Descriptor, Platform } from "../oci/descriptor.ts";
import type { Manifest } from "../oci/manifest.ts";
import { formatPlatform, isPlatform } from "../oci/platform.ts";
import type { Verdict } from "../store/catalog.ts";
import type { ImageRequirements, WantedPlatform } from "./policyRules.ts";

/** What an image's config says of it (image-spec config.md), as far as it says it. */
export interface ImageConfig {
  readonly created?: string;
  readonly platform?: Platform;
}

/** What may have to be found out about an image, each only when a demand needs it. */
export interface ImageFacts {
  readonly config: () => Promise<ImageConfig>;
  /** The real size of a layer in bytes; undefined when it does not exist. */
  readonly sizeOf: (layer: Descriptor) => Promise<number | undefined>;
  /** When Hubcap first saw it, in ms since the epoch. */
  readonly firstSeen: () => Promise<number>;
}

/** Docker is of March 2013: an image that claims to be older has no date, or one that is always the same. */
const oldest = Date.UTC(2013, 2, 20);

/** For how many ms an image that lacks a layer is refused unseen: the layer may be pushed. */
const absentMs = 60_000;

/** How far ahead the clock of who built an image may be, in ms. */
const clockSkew = 24 * 60 * 60 * 1000;

/**
 * What is about images, though it comes as a manifest: signatures, attestations and the like. They have neither a platform
 * nor signatures of their own. All of these types are JSON. That has to be seen: podman and CRI-O unpack a layer of any type.
 */
const companions =
  /^application\/(?:vnd\.dev\.cosign\.simplesigning\.v1\+json|vnd\.dev\.sigstore\.bundle[.a-z0-9]*\+json|vnd\.dsse\.envelope\.v1\+json|vnd\.in-toto\+json)$/;

/** The most layers of a companion, and the largest part of one, in bytes: all are read. */
const maxDocuments = 64;
export const maxDocumentBytes = 1024 * 1024;

/** Does a manifest say that it is about an image, and not one? Its config says nothing: cosign and BuildKit write one of an image. */
export function isCompanion({ kind, layers, config }: Manifest): boolean {
  const parts = config ? [...layers, config] : layers;
  return (
    kind === "image" &&
    layers.length > 0 &&
    layers.length <= maxDocuments &&
    layers.every(({ mediaType }) => companions.test(mediaType)) &&
    parts.every(({ size }) => size <= maxDocumentBytes)
  );
}

/** Is a blob one JSON document in strict UTF-8, of which nothing can be unpacked and run? */
export function isDocument(bytes: Buffer): boolean {
  if (isTar(bytes)) return false;
  try {
    // A byte order mark is kept, so that JSON.parse refuses it.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const document: unknown = JSON.parse(text);
    return typeof document === "object" && document !== null;
  } catch {
    return false;
  }
}

/** Would an unpacker take these bytes for a tar? The oldest format has no magic bytes, so that one can be JSON too: only its checksum tells. */
function isTar(bytes: Buffer): boolean {
  const header = bytes.subarray(0, 512);
  const [, stated] = /^[ \0]*([0-7]+)/.exec(header.toString("latin1", 148, 156)) ?? [];
  if (header.length < 512 || stated === undefined) return false;
  // The checksum's own field counts as eight spaces. Old programs add signed bytes up.
  const rest = [...header.subarray(0, 148), ...header.subarray(156)];
  const unsigned = rest.reduce((sum, byte) => sum + byte, 8 * 32);
  const signed = unsigned - 256 * rest.filter((byte) => byte > 127).length;
  return [unsigned, signed].includes(Number.parseInt(stated, 8));
}

/** What the requirements but for signatures say of an image. An index is served as it is: what it names is looked at when it is asked for. */
export async function checkImage(
  manifest: Manifest,
  { maxSize, platforms, minAge }: ImageRequirements,
  facts: ImageFacts,
  now: number,
): Promise<Verdict> {
  if (manifest.kind === "index") return {};
  if (maxSize !== undefined) {
    const verdict = await examineSize(manifest.layers, maxSize, facts, now);
    if (verdict.refusal) return verdict;
  }
  if (platforms) {
    const { platform } = await facts.config();
    if (!platform || !isWanted(platform, platforms))
      return refuse("platform", foreignPlatform(platform, platforms));
  }
  return minAge === undefined ? {} : examineAge(minAge, facts, now);
}

/** Does `wanted` have this platform? */
export function isWanted(platform: Platform, wanted: readonly WantedPlatform[]): boolean {
  return wanted.some((one) => isPlatform(platform, one));
}

/** Why a platform that is not wanted is refused. */
export function foreignPlatform(platform: Platform | undefined, wanted: readonly WantedPlatform[]): string {
  const is = platform ? `it is for ${formatPlatform(platform)}` : "its config names no platform";
  return `${is}, and only ${wanted.map(formatPlatform).join(", ")} may be pulled: pull an image for one of these`;
}

/** By the sizes that the manifest states, and then by the real ones: podman and CRI-O unpack a layer of another size. */
async function examineSize(
  layers: readonly Descriptor[],
  maxSize: number,
  facts: ImageFacts,
  now: number,
): Promise<Verdict> {
  const tooLarge = (size: number): Verdict =>
    refuse("size", `its layers are ${size} bytes and maxSize is ${maxSize}: pull a smaller image`);
  const stated = layers.reduce((sum, layer) => sum + layer.size, 0);
  if (stated > maxSize) return tooLarge(stated);
  let real = 0;
  for (const layer of layers) {
    const size = await facts.sizeOf(layer);
    if (size === undefined) {
      const why = `its layer ${layer.digest} is not in the registry, so that its size cannot be known`;
      return refuse("size", why, now + absentMs);
    }
    real += size;
    if (real > maxSize) return tooLarge(real);
  }
  return {};
}

async function examineAge(minAge: number, facts: ImageFacts, now: number): Promise<Verdict> {
  const { created } = await facts.config();
  const claimed = Date.parse(created ?? "");
  const isCredible = claimed >= oldest && claimed <= now + clockSkew;
  const since = isCredible ? claimed : await facts.firstSeen();
  const until = since + minAge;
  if (until <= now) return {};
  const birth = isCredible
    ? `it was created at ${iso(claimed)}`
    : `it counts from ${iso(since)}, when Hubcap first saw it, since its config ${doubt(created, claimed, now)}`;
  return refuse("age", `${birth} and is too young: pull it after ${iso(until)}, or an older one`, until);
}

/** Why what a config says of its date is not believed. */
function doubt(created: string | undefined, claimed: number, now: number): string {
  if (created === undefined) return "has no date";
  if (Number.isNaN(claimed)) return "has a date that cannot be read";
  return claimed > now ? "says it was created in the future" : "says it was created before there were images";
}

function refuse(reason: "age" | "size" | "platform", why: string, until?: number): Verdict {
  return { refusal: { reason, why }, ...(until !== undefined && { until }) };
}

const iso = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");

/** What `bytes` say, as far as they are a config. */
export function readImageConfig(bytes: Uint8Array): ImageConfig {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return {};
  }
  if (typeof document !== "object" || document === null) return {};
  const { created, os, architecture, variant } = document as Readonly<Record<string, unknown>>;
  const isNamed = isText(os) && isText(architecture);
  return {
    ...(isText(created) && { created }),
    ...(isNamed && { platform: { os, architecture, ...(isText(variant) && { variant }) } }),
  };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
