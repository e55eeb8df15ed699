/** The section `policy`: what may be pulled. */
import { z } from "zod";
import { duration, imagePattern, platform, size } from "./values.ts";

const rule = z.strictObject({
  match: z.array(imagePattern()).min(1).describe("The images that this rule is for."),
  pull: z.enum(["allow", "deny"]).prefault("allow").describe("May they be pulled?"),
  digestOnly: z.boolean().prefault(false).describe("Refuses them by tag: they have to be named by digest."),
  minAge: duration().exactOptional().describe("How old an image has to be."),
  maxSize: size().exactOptional().describe("How large the layers of one platform may be together."),
  platforms: z.array(platform()).min(1).exactOptional().describe("The only platforms that are served."),
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
      "Tags that never move, such as `docker.io/library/*:*.*.*`: what they meant first is served for ever, and a move is an alarm.",
    ),
});
