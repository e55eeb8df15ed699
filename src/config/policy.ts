/** The section `policy`: what may be pulled. */
import { z } from "zod";
import { duration, imagePattern, platform, size } from "./values.ts";

const rule = z.strictObject({
  match: z.array(imagePattern()).min(1).describe("The images that this rule applies to."),
  pull: z.enum(["allow", "deny"]).prefault("allow").describe("Whether they may be pulled."),
  digestOnly: z.boolean().prefault(false).describe("Whether they may be pulled by digest only."),
  minAge: duration().exactOptional().describe("The least age of an image."),
  maxSize: size().exactOptional().describe("The largest total size of one platform's layers."),
  platforms: z.array(platform()).min(1).exactOptional().describe("The platforms that may be pulled."),
});

export const policy = z.strictObject({
  rules: z
    .array(rule)
    .prefault([])
    .describe(
      "Rules by which images are allowed or refused, each with image patterns as `match` and any of `pull` (allow or deny), " +
        "`digestOnly`, `minAge`, `maxSize` and `platforms`; the first that matches an image counts, and where none does it is allowed.",
    ),
  immutableTags: z
    .array(imagePattern())
    .prefault([])
    .describe(
      "Tags that never move, such as `docker.io/library/*:*.*.*`: the digest that they meant first is always served, and a move upstream raises an alert.",
    ),
});
