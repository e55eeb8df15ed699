/** Platforms as people write them, `linux/arm/v7`, and what of an index a node of one would run. */
import type { Descriptor, Platform } from "./descriptor.ts";

/** One sentence for people whose platform is none. */
export const platformExpected = "a platform such as linux/amd64 or linux/arm/v7";

/** What a platform looks like. */
export const platformGrammar = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/;

/** The variant that is meant where none is written, and those that run what was built for the ones after them. */
const variants: Readonly<Record<string, { readonly usual: string; readonly ladder: readonly string[] }>> = {
  amd64: { usual: "v1", ladder: ["v4", "v3", "v2", "v1"] },
  arm: { usual: "v7", ladder: ["v8", "v7", "v6", "v5"] },
  arm64: { usual: "v8", ladder: ["v8"] },
};

/** The platform that `text` spells, or undefined. */
export function parsePlatform(text: string): Platform | undefined {
  const [, os, architecture, variant] = platformGrammar.exec(text) ?? [];
  return os && architecture ? { os, architecture, ...(variant && { variant }) } : undefined;
}

/** `linux/arm/v7`. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter(Boolean).join("/");
}

/** Whether a platform is the one that is wanted; a wanted one without a variant takes any. */
export function isPlatform(platform: Platform, wanted: Platform): boolean {
  const { os, architecture, variant } = wanted;
  const isSame = platform.os === os && platform.architecture === architecture;
  return isSame && (variant === undefined || platform.variant === variant);
}

/**
 * What of an index a node of `wanted` would take: the best variant that runs there, of Windows every build. What is for
 * no platform in particular is for all. Empty when there is nothing.
 */
export function childrenFor(wanted: Platform, children: readonly Descriptor[]): readonly Descriptor[] {
  const open = children.filter(({ platform }) => platform === undefined);
  for (const variant of runnable(wanted)) {
    const found = children.filter(({ platform }) => platform && isOf(platform, { ...wanted, variant }));
    if (found.length > 0) return [...found, ...open];
  }
  return open;
}

/** Best first. */
function runnable({ architecture, variant }: Platform): readonly string[] {
  const known = variants[architecture];
  const asked = variant ?? known?.usual ?? "";
  const at = known?.ladder.indexOf(asked) ?? -1;
  return known && at >= 0 ? known.ladder.slice(at) : [asked];
}

function isOf(platform: Platform, wanted: Platform & { readonly variant: string }): boolean {
  const variant = platform.variant ?? variants[platform.architecture]?.usual ?? "";
  return (
    platform.os === wanted.os && platform.architecture === wanted.architecture && variant === wanted.variant
  );
}
