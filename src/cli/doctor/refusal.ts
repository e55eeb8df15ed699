/** What a mirror's refusal means: its status, its OCI code and, where those say too little, its sentence. */
import { duration } from "../../async/timeText.ts";
import { toldBy, type MirrorAnswer } from "./mirrorClient.ts";
import { Finding } from "./verdicts.ts";

/** Who answered what, for messages. */
export interface Asked {
  /** The mirror's host and port. */
  readonly mirror: string;
  readonly upstream: string;
  readonly what: string;
}

/** The finding for an answer that is not what was asked for. Absences are left to the caller, who can look further. */
export function refusalOf(answer: MirrorAnswer, asked: Asked): Finding {
  const { status, headers } = answer;
  const { code, message } = toldBy(answer);
  const { mirror, upstream, what } = asked;
  const said =
    message === ""
      ? `${mirror} answered ${status} to a request for ${what}`
      : `the mirror says that ${message}`;
  if (status === 401) return new Finding("mirror-login", `${mirror} asks for a login or a token`);
  if (code === "" && status >= 500) {
    return new Finding(
      "mirror-down",
      `${mirror} answered ${status}, as a proxy does in front of a mirror that is down`,
    );
  }
  if (code === "")
    return new Finding("mirror-not-hubcap", `${mirror} answers ${status} and no word of a registry`);
  if (code === "NAME_UNKNOWN" && message.includes("is not served here")) {
    return new Finding("host-not-served", `the mirror does not serve the source host ${upstream}`);
  }
  // A mirror that is told to let runtimes fall back says 503 where others say 429.
  if (status === 429 || headers["ratelimit"] !== undefined) {
    const seconds = Number(headers["retry-after"]);
    const remedy =
      seconds > 0
        ? `wait ${duration(seconds * 1000)}, give Hubcap an account, or pull less often`
        : undefined;
    return new Finding("rate-limited", said, remedy === undefined ? {} : { remedy });
  }
  if (code === "DENIED") {
    const isLogin = /\brefused (?:the credential of )?account\b|\bcredential cannot be obtained\b/.test(
      message,
    );
    if (isLogin) return new Finding("credential-refused", said);
    // The upstream room has one sentence for what an upstream denies. All others are the mirror's own rules.
    const isUpstream = /\bdenies (?:anonymous pulls|account ".*") access to\b/.test(message);
    return new Finding(isUpstream ? "no-access" : "policy-refused", said);
  }
  if (code === "UNAVAILABLE") {
    const isClosing = message.includes("shutting down");
    return new Finding(isClosing ? "mirror-down" : "upstream-down", said);
  }
  if (code === "UPSTREAM_INVALID") {
    if (message.includes("not among its tokenRealms")) return new Finding("token-realm", said);
    if (message.includes("needs allowPrivateAddresses")) return new Finding("private-address", said);
    return new Finding("upstream-broken", said);
  }
  return new Finding("upstream-broken", said);
}
