/** What it means that a registry, asked direct, does not give what was asked for. */
import { UpstreamError } from "../../upstream/error.ts";
import type { Registry } from "../../upstream/registry.ts";
import type { Wanted } from "./image.ts";
import { troubleOf } from "./connectionTrouble.ts";
import { Finding } from "./verdicts.ts";
import type { WatchingBucket } from "./watchingBucket.ts";
import { nearest } from "../../config/suggest.ts";
import { isDigest, parseTag, type Reference } from "../../oci/reference.ts";

/** Who was asked, by whom and for what. */
export interface DirectRequest {
  readonly wanted: Wanted;
  /** The registry's host and port, for messages. */
  readonly host: string;
  /** The account, `anonymous` for none. */
  readonly account: string;
  /** What was answered. */
  readonly bucket: WatchingBucket;
  /** All tags of the repository. @throws what the registry is asked in vain with */
  readonly tags: () => ReturnType<Registry["listTags"]>;
}

/** The finding for a 200 that is about no manifest. */
export function unnamedManifest({ bucket, host }: DirectRequest): Finding {
  const seen = bucket.first("manifest-head");
  if (String(seen?.headers["content-type"]).startsWith("text/html")) {
    const cause = `a web page comes in place of ${host}'s answer, so something between here and there answers for it`;
    return new Finding("proxy", cause, {
      remedy: "let this host out to the registry without a proxy or a sign-in page",
    });
  }
  return new Finding(
    "upstream-broken",
    `${host} answers ${seen?.status} without saying what the manifest is`,
  );
}

/** The finding for what the upstream module threw. @throws all else */
export async function failureOf(error: unknown, direct: DirectRequest): Promise<Finding> {
  if (!(error instanceof UpstreamError)) throw error;
  const { repository, reference, name } = direct.wanted;
  const trouble = troubleOf(error, direct.host);
  if (trouble) return new Finding(trouble.code, error.message, { cause: error });
  const { message } = error;
  switch (error.kind) {
    case "absent":
      try {
        return absenceOf(name, reference, await direct.tags());
      } catch {
        return new Finding("name-unknown", `${repository.upstream} has no repository ${repository.name}`);
      }
    case "denied": {
      const isLogin = isLoginRefused(direct) || error.reason === "credential-refused";
      return new Finding(isLogin ? "credential-refused" : "no-access", message);
    }
    case "limited":
      return new Finding("rate-limited", message);
    case "unreachable":
      return new Finding("upstream-down", message);
    case "corrupt":
      return new Finding(error.reason === "token-realm" ? "token-realm" : "upstream-broken", message);
  }
}

/** Whether it is the account itself that is refused: by the token service, or where Basic is asked for. */
function isLoginRefused({ account, bucket }: DirectRequest): boolean {
  if (account === "anonymous") return false;
  const token = bucket.first("token");
  if (token) return token.status !== 200;
  const answer = bucket.first("manifest-head");
  return answer?.status === 401 && /^basic\b/i.test(String(answer.headers["www-authenticate"]));
}

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
