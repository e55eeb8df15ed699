/** Manifests, parsed for inspection only: the bytes are served as they came. */
import {
  isIndexType,
  manifestTypes,
  maxManifestBytes,
  ociIndex,
  ociManifest,
  type Descriptor,
  type Platform,
} from "./descriptor.ts";
import { parseDigest, type Digest } from "./digest.ts";
import { topLevelKeys } from "./json.ts";

/** An image or an index (image-spec manifest.md, image-index.md; Docker's two types have the same fields). */
export interface Manifest {
  readonly kind: "image" | "index";
  readonly mediaType: string;
  /** The manifests that an index names; empty for an image. */
  readonly children: readonly Descriptor[];
  /** Only an image has one. */
  readonly config?: Descriptor;
  /** The layers of an image; empty for an index. */
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A document that is no manifest, or that two parsers could understand differently. */
export class ManifestError extends Error {
  override readonly name = "ManifestError";
}

type Document = Readonly<Record<string, unknown>>;

const maxDepth = 32;
const maxDescriptors = 10_000;

/** How many values a document has at most, nested ones too: a list of as many descriptors as above, with annotations. */
const maxValues = 200_000;

/** How many parts a manifest that is pulled may name: the largest real ones have some hundreds. Each is a row of the catalog. */
export const maxParts = 1000;

// All fields that are read here, and `fsLayers`, which marks schema 1.
const fields = [
  "schemaVersion",
  "mediaType",
  "manifests",
  "config",
  "layers",
  "fsLayers",
  "subject",
  "artifactType",
  "annotations",
];
const fieldByFold = new Map(fields.map((field) => [fold(field), field]));

// A document that is both an image and an index could be one to us and the other to a client (CVE-2021-41190).
const foreignFields = { image: ["manifests", "fsLayers"], index: ["config", "layers", "fsLayers"] } as const;

/**
 * Parses `bytes` that were sent as `contentType`.
 * @throws ManifestError, and nothing else, whatever the bytes.
 */
export function readManifest(bytes: Uint8Array, contentType: string): Manifest {
  const mediaType = withoutParameters(contentType);
  if (!manifestTypes.includes(mediaType)) {
    throw new ManifestError(`sent as "${mediaType.slice(0, 100)}", which is no type of manifest`);
  }
  const kind = isIndexType(mediaType) ? "index" : "image";

  const document = parse(bytes);
  checkMediaType(document, mediaType);
  checkKind(document, kind);

  const config = readOptional(document["config"], "config");
  const subject = readOptional(document["subject"], "subject");
  const artifactType = readText(document["artifactType"]);
  const annotations = readAnnotations(document["annotations"]);
  return {
    kind,
    mediaType,
    children: readDescriptors(document["manifests"], "manifests"),
    layers: readDescriptors(document["layers"], "layers"),
    ...(config && { config }),
    ...(subject && { subject }),
    ...(artifactType && { artifactType }),
    ...(annotations && { annotations }),
  };
}

/** The descriptor of a manifest in a list of referrers (distribution-spec "Listing Referrers"). */
export function listedAs(
  { mediaType, digest, size }: Descriptor,
  { artifactType, config, annotations }: Manifest,
): Descriptor {
  const type = artifactType ?? config?.mediaType;
  return {
    mediaType,
    digest,
    size,
    ...(type && { artifactType: type }),
    ...(annotations && { annotations }),
  };
}

/** The digests of the parts of `manifest`: children, layers and config. Its subject is not a part of it. */
export function namesIn({ children, config, layers }: Manifest): Digest[] {
  return [...children, ...layers, ...(config ? [config] : [])].map(({ digest }) => digest);
}

function parse(bytes: Uint8Array): Document {
  if (bytes.byteLength > maxManifestBytes) throw new ManifestError(`larger than ${maxManifestBytes} bytes`);
  try {
    // A byte order mark is kept, so that JSON.parse refuses it as other parsers do.
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    checkKeys(text);
    const document: unknown = JSON.parse(text);
    if (isObject(document)) return document;
  } catch (error) {
    if (error instanceof ManifestError) throw error;
    throw new ManifestError("not a JSON document in UTF-8", { cause: error });
  }
  throw new ManifestError("not a JSON object");
}

/** Parsers take the first or the last of duplicate keys, and Go's take `LAYERS` for `layers`: such a document is ambiguous. */
function checkKeys(text: string): void {
  const seen = new Set<string>();
  for (const key of topLevelKeys(text, maxDepth, maxValues)) {
    const field = fieldByFold.get(fold(key));
    if (field === undefined) continue;
    if (key !== field) throw new ManifestError(`${field} is spelled in another case`);
    if (seen.has(field)) throw new ManifestError(`${field} is stated twice`);
    seen.add(field);
  }
}

/** `key` as Go's encoding/json compares it: simple case folding, which maps ſ to s and the Kelvin sign to k. */
function fold(key: string): string {
  return key.toUpperCase().toLowerCase();
}

function checkMediaType(document: Document, mediaType: string): void {
  const stated = document["mediaType"] ?? undefined;
  // Only OCI documents may omit their type (image-spec: "SHOULD be used").
  if (stated === undefined && (mediaType === ociIndex || mediaType === ociManifest)) return;
  if (stated !== mediaType) throw new ManifestError(`sent as ${mediaType}, but says otherwise of itself`);
}

function checkKind(document: Document, kind: Manifest["kind"]): void {
  if ((document["schemaVersion"] ?? 2) !== 2) throw new ManifestError("schemaVersion is not 2");
  for (const field of foreignFields[kind]) {
    if ((document[field] ?? undefined) !== undefined) throw new ManifestError(`an ${kind} with ${field}`);
  }
  if (kind === "index" && document["manifests"] === undefined)
    throw new ManifestError("an index without manifests");
  if (kind === "image" && !document["config"]) throw new ManifestError("an image without config");
}

/** The descriptors of `value`. Go's encoder writes an empty list as null. */
function readDescriptors(value: unknown, where: string): Descriptor[] {
  const items = value ?? [];
  if (!Array.isArray(items)) throw new ManifestError(`${where} is not a list`);
  if (items.length > maxDescriptors) throw new ManifestError(`more than ${maxDescriptors} ${where}`);
  return items.map((item: unknown, index) => readDescriptor(item, `${where}[${index}]`));
}

function readOptional(value: unknown, where: string): Descriptor | undefined {
  return value === undefined || value === null ? undefined : readDescriptor(value, where);
}

/** Fields that identify content must be valid; invalid ones that only describe it are left out. `urls` are never followed. */
function readDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw new ManifestError(`${where} is not a descriptor`);
  const mediaType = readText(value["mediaType"]);
  if (mediaType === undefined) throw new ManifestError(`${where} has no mediaType`);
  const digest = parseDigest(readText(value["digest"]) ?? "");
  if (digest === undefined) throw new ManifestError(`${where} has no sha256 or sha512 digest`);
  const size = value["size"];
  // 1e400 parses to Infinity, and 2^53 + 1 to another number.
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new ManifestError(`${where} has no size in bytes`);
  }
  const artifactType = readText(value["artifactType"]);
  const annotations = readAnnotations(value["annotations"]);
  const platform = readPlatform(value["platform"]);
  return {
    mediaType,
    digest,
    size,
    ...(artifactType && { artifactType }),
    ...(annotations && { annotations }),
    ...(platform && { platform }),
  };
}

function readPlatform(value: unknown): Platform | undefined {
  if (!isObject(value)) return undefined;
  const os = readText(value["os"]);
  const architecture = readText(value["architecture"]);
  if (os === undefined || architecture === undefined) return undefined;
  const variant = readText(value["variant"]);
  return { os, architecture, ...(variant && { variant }) };
}

function readAnnotations(value: unknown): Readonly<Record<string, string>> | undefined {
  return isTexts(value) ? value : undefined;
}

function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  return isObject(value) && Object.values(value).every((item) => typeof item === "string");
}

/** A text that is not empty: Go's encoder may write an absent one as "". */
function readText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function isObject(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function withoutParameters(contentType: string): string {
  const semicolon = contentType.indexOf(";");
  return (semicolon < 0 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase();
}
