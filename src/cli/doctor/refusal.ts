/** What a mirror's refusal means: by the reason that Hubcap gives for programs, else by status and OCI code. Its sentence is only quoted. */
import type { ErrorReason } from "../../oci/error.ts";
import { duration } from "../../async/text.ts";
import { readError, type MirrorAnswer } from "./mirrorClient.ts";
import { Finding, type VerdictCode } from "./verdicts.ts";

/** Who answered what, for messages. */
export interface Asked {
  /** The mirror's host and port. */
  readonly mirror: string;
  readonly upstream: string;
  readonly what: string;
}

const byReason: Readonly<Record<ErrorReason, VerdictCode>> = {
  "invalid-request": "upstream-broken",
  "host-not-served": "host-not-served",
  "login-required": "mirror-login",
  "not-found": "upstream-broken",
  "denied-by-policy": "policy-refused",
  "denied-by-upstream": "no-access",
  "credential-refused": "credential-refused",
  quota: "rate-limited",
  "upstream-rate-limit": "rate-limited",
  "client-limit": "rate-limited",
  "upstream-unreachable": "upstream-down",
  "upstream-invalid": "upstream-broken",
  "token-realm": "token-realm",
  "private-address": "private-address",
  "shutting-down": "mirror-down",
  internal: "upstream-broken",
};

/** For a Hubcap of an older version, or another mirror, whose errors give no reason. */
const byCode: Readonly<Record<string, VerdictCode>> = {
  UNAUTHORIZED: "mirror-login",
  DENIED: "no-access",
  TOOMANYREQUESTS: "rate-limited",
  UNAVAILABLE: "upstream-down",
};

/** The finding for an answer that is not what was asked for. Where it is not there, the caller looks further. */
export function refusalOf(answer: MirrorAnswer, asked: Asked): Finding {
  const { status, headers } = answer;
  const { code, message, reason } = readError(answer);
  const { mirror, upstream, what } = asked;
  if (status === 401) return new Finding("mirror-login", `${mirror} asks for a login or a token`);
  if (code === "" && status >= 500) {
    return new Finding(
      "mirror-down",
      `${mirror} answered ${status}, as a proxy does in front of a mirror that is down`,
    );
  }
  if (code === "")
    return new Finding("mirror-not-hubcap", `${mirror} answers ${status} and no word of a registry`);
  const said =
    message === ""
      ? `${mirror} answered ${status} to a request for ${what}`
      : `the mirror says that ${message}`;
  const known = reason === undefined ? undefined : byReason[reason as ErrorReason];
  // A mirror that is to let runtimes fall back says 503 where others say 429.
  const finding =
    headers["ratelimit"] !== undefined ? "rate-limited" : (known ?? byCode[code] ?? "upstream-broken");
  const guess = known ? "" : ` (it gives no reason for programs, so this goes by its status ${status})`;
  if (finding === "host-not-served")
    return new Finding(finding, `the mirror does not serve the source host ${upstream}`);
  if (finding === "rate-limited") {
    const seconds = Number(headers["retry-after"]);
    const remedy =
      seconds > 0
        ? `wait ${duration(seconds * 1000)}, give Hubcap an account, or pull less often`
        : undefined;
    return new Finding(finding, said + guess, remedy === undefined ? {} : { remedy });
  }
  return new Finding(finding, said + guess);
}
