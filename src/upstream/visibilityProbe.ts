/** The visibility probe: does an upstream show a repository to an account, or without one? It costs no pull. */
import type { Digest } from "../oci/digest.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import { UpstreamError } from "./error.ts";
import type { RequestOptions, Registry } from "./registry.ts";

/** What a client wants of a repository. */
export type ProbedContent =
  | { readonly kind: "manifest"; readonly reference: Reference }
  | { readonly kind: "blob"; readonly digest: Digest }
  | { readonly kind: "tags" }
  | { readonly kind: "referrers"; readonly subject: Digest };

type ProbedRegistry = Pick<Registry, "headManifest" | "headBlob" | "showsTags">;

/**
 * Does `registry` show `repository`? First a HEAD of what is wanted, which no upstream counts. When there is no such thing,
 * the list of tags tells a repository without it from one that is hidden.
 * @throws UpstreamError when the upstream gave no answer that decides.
 */
export async function isVisible(
  registry: ProbedRegistry,
  repository: Repository,
  wanted: ProbedContent,
  options: RequestOptions,
): Promise<boolean> {
  return (
    (await exists(() => head(registry, repository, wanted, options))) ??
    (await hasTags(registry, repository, options))
  );
}

async function head(
  registry: ProbedRegistry,
  repository: Repository,
  wanted: ProbedContent,
  options: RequestOptions,
): Promise<boolean> {
  switch (wanted.kind) {
    case "tags":
      return false;
    case "blob":
      await registry.headBlob(repository, wanted.digest, options);
      return true;
    case "manifest":
    case "referrers": {
      const reference = wanted.kind === "manifest" ? wanted.reference : wanted.subject;
      const { mediaType } = await registry.headManifest(repository, reference, options);
      // Without a type the upstream has said nothing, perhaps because it knows no HEAD.
      return mediaType !== "";
    }
  }
}

/** True: yes. False: hidden. Undefined: there is no such thing, or that was not said. */
async function exists(probe: () => Promise<boolean>): Promise<boolean | undefined> {
  try {
    return (await probe()) || undefined;
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    if (error.kind === "denied") return false;
    if (error.kind === "absent") return undefined;
    throw error;
  }
}

async function hasTags(
  registry: ProbedRegistry,
  repository: Repository,
  options: RequestOptions,
): Promise<boolean> {
  return (await exists(() => registry.showsTags(repository, options))) ?? false;
}
