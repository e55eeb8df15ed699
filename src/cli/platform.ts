/** Platforms as people type and read them: `linux/amd64`, `linux/arm/v7`. */
import type { Platform } from "../oci/descriptor.ts";

/** Whether a platform is the one that is wanted; a wanted one without a variant takes any. */
export function isPlatform(platform: Platform | undefined, wanted: string): boolean {
  if (!platform) return false;
  const { os, architecture, variant } = platform;
  return wanted === `${os}/${architecture}` || wanted === `${os}/${architecture}/${variant}`;
}

/** A platform in one word. */
export function platformText({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter(Boolean).join("/");
}
