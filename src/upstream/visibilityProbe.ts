/** Witnesses: whether an account, or nobody in particular, sees a repository at its upstream. It costs no pull. */
import type { Digest } from "../oci/digest.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import { UpstreamError } from "./error.ts";
import type { RequestOptions, Registry } from "./registry.ts";

/** What somebody wants of a repository. */
export type ProbedContent =
  | { readonly kind: "manifest"; readonly reference: Reference }
  | { readonly kind: "blob"; readonly digest: Digest }
  | { readonly kind: "tags" }
  | { readonly kind: "referrers"; readonly subject: Digest };

type Eyes = Pick<Registry, "headManifest" | "headBlob" | "showsTags">;

/**
 * Does `eyes` see `repository`? What is wanted of it is asked for first, by HEAD, which no upstream counts. When there is no
 * such thing, the list of tags tells a repository without it from one that is hidden.
 * @throws UpstreamError when the upstream gave no answer that decides.
 */
export async function isVisible(
  eyes: Eyes,
  repository: Repository,
  wanted: ProbedContent,
  asked: RequestOptions,
): Promise<boolean> {
  return (await has(() => head(eyes, repository, wanted, asked))) ?? (await hasTags(eyes, repository, asked));
}

async function head(
  eyes: Eyes,
  repository: Repository,
  wanted: ProbedContent,
  asked: RequestOptions,
): Promise<boolean> {
  switch (wanted.kind) {
    case "tags":
      return false;
    case "blob":
      await eyes.headBlob(repository, wanted.digest, asked);
      return true;
    case "manifest":
    case "referrers": {
      const reference = wanted.kind === "manifest" ? wanted.reference : wanted.subject;
      const { mediaType } = await eyes.headManifest(repository, reference, asked);
      // Without a type the upstream has told nothing, perhaps because it knows no HEAD.
      return mediaType !== "";
    }
  }
}

/** True: yes. False: hidden. Undefined: there is no such thing, or that was not said. */
async function has(look: () => Promise<boolean>): Promise<boolean | undefined> {
  try {
    return (await look()) || undefined;
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    if (error.kind === "denied") return false;
    if (error.kind === "absent") return undefined;
    throw error;
  }
}

async function hasTags(eyes: Eyes, repository: Repository, asked: RequestOptions): Promise<boolean> {
  return (await has(() => eyes.showsTags(repository, asked))) ?? false;
}
