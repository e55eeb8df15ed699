/** What an image's config says of it (image-spec config.md), read from bytes that anyone may have written. */
import type { ImageConfig } from "./imageChecks.ts";

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
