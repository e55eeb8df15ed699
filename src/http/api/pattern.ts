/** The parameter `image`, where it is a pattern of images. */
import { z } from "@hono/zod-openapi";
import { parsePattern, patternExpected } from "../../oci/pattern.ts";

const expected = `must be ${patternExpected}`;

/** Reads an image, a glob over repositories, or a digest. */
export const imagePattern = z
  .string({ error: expected })
  .transform((text, context) => {
    const pattern = parsePattern(text);
    if (pattern) return pattern;
    context.addIssue({ code: "custom", message: expected });
    return z.NEVER;
  })
  .openapi({ type: "string", example: "docker.io/library/nginx:1.29" });
