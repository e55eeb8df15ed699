/** The image that is asked about, as a kubelet reads its name. */
import { RegistryError } from "../../oci/error.ts";
import { parseImage, referenceOf } from "../../oci/image.ts";
import { formatImage, type Reference, type Repository } from "../../oci/reference.ts";
import { canonicalHost } from "../../oci/target.ts";
import { Finding } from "./verdicts.ts";

/** What is pulled. */
export interface Wanted {
  readonly repository: Repository;
  readonly reference: Reference;
  /** The whole name. */
  readonly name: string;
}

/** Reads a name. Any source host will do: whether it is served is asked later. @throws Finding "name-invalid" */
export function readImage(text: string): Wanted {
  const [first = "", ...rest] = text.split("/");
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const host = isHost ? canonicalHost(first) : "docker.io";
  try {
    const image = parseImage(text, { upstreams: new Set([host]), defaultUpstream: "docker.io" });
    const repository = { upstream: image.upstream, name: image.name };
    const reference = referenceOf(image);
    return { repository, reference, name: formatImage(repository, reference) };
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    throw new Finding("name-invalid", error.message, { cause: error });
  }
}
