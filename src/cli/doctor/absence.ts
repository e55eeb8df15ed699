/** What is said of a manifest that is not there, on either way. */
import { nearest } from "../../config/suggest.ts";
import { isDigest, parseTag, type Reference } from "../../oci/reference.ts";
import { Finding } from "./verdicts.ts";

/** The finding for a manifest that is not there, though its repository has `tags`. */
export function absenceOf(name: string, reference: Reference, tags: readonly string[]): Finding {
  if (isDigest(reference))
    return new Finding("tag-unknown", `there is no ${name}`, { remedy: "correct the digest" });
  const meant = nearest(
    reference,
    tags.filter((tag) => parseTag(tag) !== undefined),
  );
  const remedy = meant === undefined ? "correct the tag" : `correct the tag, perhaps to ${meant}`;
  return new Finding("tag-unknown", `there is no ${name}`, { remedy });
}
