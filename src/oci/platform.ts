/** Platforms such as `linux/arm/v7`, and which manifests of an index a node of one would run. */
import type { Descriptor, Platform } from "./descriptor.ts";

/** What to write instead of an invalid platform, for messages. */
export const platformExpected = "a platform such as linux/amd64 or linux/arm/v7";

/** The grammar of a platform. */
export const platformGrammar = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/;

/** For each architecture, the variant that is meant when none is written, and an order in which each also runs those after it. */
const variants: Readonly<Record<string, { readonly usual: string; readonly order: readonly string[] }>> = {
  amd64: { usual: "v1", order: ["v4", "v3", "v2", "v1"] },
  arm: { usual: "v7", order: ["v8", "v7", "v6", "v5"] },
  arm64: { usual: "v8", order: ["v8"] },
};

/** `text` as a platform, or undefined. */
export function parsePlatform(text: string): Platform | undefined {
  const [, os, architecture, variant] = platformGrammar.exec(text) ?? [];
  return os && architecture ? { os, architecture, ...(variant && { variant }) } : undefined;
}

/** `linux/arm/v7`. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter(Boolean).join("/");
}

/** Whether `platform` is `wanted`; without a variant, `wanted` means any. */
export function isPlatform(platform: Platform, wanted: Platform): boolean {
  const { os, architecture, variant } = wanted;
  const isSame = platform.os === os && platform.architecture === architecture;
  return isSame && (variant === undefined || platform.variant === variant);
}

/**
 * The manifests of an index that a node of `wanted` would run: the best variant, and every build of Windows. Those without a
 * platform are for all nodes. Empty when there are none.
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
  const at = known?.order.indexOf(asked) ?? -1;
  return known && at >= 0 ? known.order.slice(at) : [asked];
}

function isOf(platform: Platform, wanted: Platform & { readonly variant: string }): boolean {
  const variant = platform.variant ?? variants[platform.architecture]?.usual ?? "";
  return (
    platform.os === wanted.os && platform.architecture === wanted.architecture && variant === wanted.variant
  );
}
