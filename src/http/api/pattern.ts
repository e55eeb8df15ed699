/** The parameter `image`, where it is a pattern of images. */
import { parsePattern, patternExpected } from "../../oci/pattern.ts";
import { parsed } from "./parsed.ts";

/** Reads an image, a glob over repositories, or a digest. */
export const imagePattern = parsed(parsePattern, `must be ${patternExpected}`).openapi({
  type: "string",
  example: "docker.io/library/nginx:1.29",
});
