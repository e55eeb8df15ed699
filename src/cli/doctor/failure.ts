/** What it means that a registry, asked straight, does not give what was asked for. */
import { UpstreamError } from "../../upstream/error.ts";
import type { Registry } from "../../upstream/registry.ts";
import { absenceOf } from "./absence.ts";
import type { Wanted } from "./image.ts";
import { troubleOf } from "./connectionTrouble.ts";
import { Finding } from "./verdicts.ts";
import type { WatchingBucket } from "./watchingBucket.ts";

/** Who was asked, by whom and for what. */
export interface Straight {
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
export function untold({ bucket, host }: Straight): Finding {
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

/** The finding for what the upstream room threw. @throws all else */
export async function failureOf(error: unknown, straight: Straight): Promise<Finding> {
  if (!(error instanceof UpstreamError)) throw error;
  const { repository, reference, name } = straight.wanted;
  const trouble = troubleOf(error, straight.host);
  if (trouble) return new Finding(trouble.code, error.message, { cause: error });
  const { message } = error;
  switch (error.kind) {
    case "absent":
      try {
        return absenceOf(name, reference, await straight.tags());
      } catch {
        return new Finding("name-unknown", `${repository.upstream} has no repository ${repository.name}`);
      }
    case "denied": {
      const isLogin = isLoginRefused(straight) || error.reason === "credential-refused";
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
function isLoginRefused({ account, bucket }: Straight): boolean {
  if (account === "anonymous") return false;
  const token = bucket.first("token");
  if (token) return token.status !== 200;
  const answer = bucket.first("manifest-head");
  return answer?.status === 401 && /^basic\b/i.test(String(answer.headers["www-authenticate"]));
}
