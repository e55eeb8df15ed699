/** Everything that `hubcap doctor` can find: one code for each cause, and what to do about it. docs/troubleshooting.md has an anchor for each. */

/** What to do, as the end of a sentence. A cause may know better. */
export const verdicts = {
  ok: "there is nothing to do",
  "mirror-disk": "give the mirror's volume space, or lower storage.capacity; until then nothing new is kept",
  "name-invalid": "write it as HOST/NAME:TAG, in lower case",
  "name-unknown": "correct the image's name",
  "tag-unknown": "correct the tag",
  "platform-missing": "use an image that is built for this platform, or a node of another",
  "credential-refused": "renew the credential of this upstream in Hubcap's configuration",
  "no-access": "correct the name, or give Hubcap an account that may pull it",
  "policy-refused":
    "use an image that the rules let through, or have `policy` or `verify` in Hubcap's configuration changed",
  "rate-limited": "wait for the window to move on, give Hubcap an account, or pull less often",
  dns: "correct the name, or the name servers that this machine asks",
  refused: "start what should listen there, or correct the port",
  timeout: "look for a firewall or a network policy between here and there",
  "tls-untrusted": "name the authority that signed it (`ca` in Hubcap's configuration, --ca for the mirror)",
  "tls-expired": "renew the certificate",
  "tls-name": "use a name that the certificate is for, or renew it with this one",
  "tls-none": "use http:// for it, or let it speak TLS",
  "private-address": "set allowPrivateAddresses for this upstream, if that is meant",
  "token-realm": "add it to tokenRealms of this upstream, if it is to be trusted with the credential",
  proxy: "name the host in NO_PROXY of the runtime, or let the host out without the proxy",
  "clock-wrong": "set the clock of this machine, by NTP best",
  "mirror-down": "look at Hubcap's pod or service, and at the way to it",
  "mirror-not-hubcap": "correct the mirror's address in the files of hubcap client-config",
  "mirror-status-port": "use the port of registry.listen, 5000 unless configured",
  "mirror-login": "give the node the token, login or certificate that Hubcap asks of its clients",
  "host-not-served": "add it under upstreams: in Hubcap's configuration",
  "upstream-down": "wait for the registry, or look at the mirror's way out; what is held is served meanwhile",
  "upstream-broken": "look at what stands between here and the registry",
  "layer-unreachable": "let nodes and Hubcap reach the hosts that this registry redirects to",
} as const;

export type VerdictCode = keyof typeof verdicts;

/** A cause, found: the message is a clause that can follow "because". */
export class Finding extends Error {
  override readonly name = "Finding";
  readonly code: VerdictCode;
  readonly remedy: string;

  constructor(code: VerdictCode, cause: string, options: ErrorOptions & { remedy?: string } = {}) {
    super(cause, options);
    this.code = code;
    this.remedy = options.remedy ?? verdicts[code];
  }
}

/** Whether a pull works in spite of what was found. */
export function isHarmless(code: VerdictCode): boolean {
  return code === "ok" || code === "mirror-disk";
}

/** The one sentence that a diagnosis ends in, in the words that a kubelet shows. */
export function sentenceOf({ code, message, remedy }: Finding): string {
  if (code === "ok") return `The pull works: ${message}.`;
  if (isHarmless(code)) return `The pull works, but ${message}: ${remedy}.`;
  const shown = code === "name-invalid" ? "InvalidImageName" : "ErrImagePull, then ImagePullBackOff,";
  return `kubelet shows ${shown} because ${message}: ${remedy}.`;
}
