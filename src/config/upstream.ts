/** The section of an upstream, completed with what is known of its host and with its credential. */
import { isIP } from "node:net";
import { z } from "zod";
import { completeCredential, credential, type Credential, type ReadDockerLogin } from "./credential.ts";
import { certificateFile } from "./files.ts";
import type { Report } from "./issue.ts";
import { duration, origin, share, sourceHost } from "./values.ts";

const timeouts = z.strictObject({
  connect: duration({ min: "100ms", max: "1h" }).prefault("5s").describe("How long connecting may take."),
  headers: duration({ min: "100ms", max: "1h" })
    .prefault("15s")
    .describe("How long the upstream may take until the headers of its response."),
  stall: duration({ min: "100ms", max: "1h" })
    .prefault("30s")
    .describe("How long a running download may receive nothing before it is resumed on a new connection."),
});

const upstreamQuota = z.strictObject({
  limit: z
    .int()
    .min(1)
    .exactOptional()
    .describe("Pulls per window, used until the upstream says what it allows."),
  window: duration({ min: "1s" }).exactOptional().describe("The length of the window that `limit` is for."),
  reserve: share()
    .exactOptional()
    .describe("The share that is kept for images that are not held; `quota.reserve` unless set."),
  // containerd gives up on an answer that has not begun after 30 s.
  maxWait: duration({ max: "29s" })
    .prefault("15s")
    .describe("How long a pull may wait in the queue before it is refused."),
  minInterval: duration({ max: "1h" })
    .exactOptional()
    .describe("The least time between two requests that count; known upstreams have their own default."),
  concurrency: z
    .int()
    .min(1)
    .prefault(16)
    .describe("How many requests may run at once; the last third is for addresses with fewer than 3."),
});

/** What may be said of one upstream. */
export const upstream = z.strictObject({
  url: origin()
    .exactOptional()
    .describe(
      "Where the registry answers; known for the usual public registries and the private ones of the clouds.",
    ),
  tokenRealms: z
    .array(origin())
    .exactOptional()
    .describe(
      "The only origins, besides the registry, that the credential is sent to; unless set, the known ones or the origin of `url`.",
    ),
  credential: credential
    .exactOptional()
    .describe("The one account that pulls for all clients; anonymous without it."),
  allowPrivateAddresses: z
    .boolean()
    .prefault(false)
    .describe(
      "Allows http and private addresses, for upstreams in your own network; of this machine only the hosts that are configured, link-local and metadata addresses never.",
    ),
  ca: certificateFile()
    .exactOptional()
    .describe("A PEM file with certificate authorities to trust besides the system's."),
  timeouts: timeouts.prefault({}).describe("When a request to the upstream times out."),
  quota: upstreamQuota.prefault({}).describe("Limits of the upstream."),
  whenExhausted: z
    .enum(["hold", "fallback"])
    .prefault("hold")
    .describe(
      "With nothing left, `hold` answers 429 and `fallback` 503, so that runtimes pull from the registry themselves.",
    ),
  alternates: z
    .array(sourceHost())
    .prefault([])
    .describe(
      "Other configured upstreams that are tried for images that are not held, before a pull is refused.",
    ),
});

type UpstreamSettings = z.output<typeof upstream>;

/** Where the registry of a well-known host answers, and where its tokens come from. */
export interface KnownRegistry {
  readonly url: string;
  readonly tokenRealms: readonly string[];
}

/** What `upstream/` knows, as an argument because this module may not import it. */
export interface Known {
  /** What need not be configured for a host, or undefined when it is not a known one. */
  readonly knownRegistry: (host: string) => KnownRegistry | undefined;
  /** Whether an IP address is not on the public internet. */
  readonly isPrivateAddress: (address: string) => boolean;
  readonly readDockerLogin: ReadDockerLogin;
}

/** An upstream with nothing left open. */
export interface UpstreamConfig extends Omit<UpstreamSettings, "tokenRealms" | "credential" | "quota"> {
  readonly url: string;
  readonly tokenRealms: readonly string[];
  readonly credential?: Credential;
  readonly quota: UpstreamSettings["quota"] & { readonly reserve: number };
}

/** The upstream of `host`. What cannot be completed is reported, and the result must then not be used. */
export function completeUpstream(
  host: string,
  written: UpstreamSettings,
  reserve: number,
  known: Known,
  report: Report,
): UpstreamConfig {
  const { credential: account, ...settings } = written;
  // A preset's realms belong to its registry: with an own url they would hand the credential to a stranger.
  const preset = written.url === undefined ? known.knownRegistry(host) : undefined;
  const url = written.url ?? preset?.url ?? `https://${host}`;
  if (written.url === undefined && preset === undefined)
    report(["url"], "the URL of the registry, as this host is not a known one");
  const tokenRealms = written.tokenRealms ?? preset?.tokenRealms ?? [url];
  if (!written.allowPrivateAddresses) {
    const needed = "allowPrivateAddresses: true beside it, for http or a private address";
    if (isExposed(url, known)) report(["url"], needed);
    if (written.tokenRealms?.some((realm) => isExposed(realm, known))) report(["tokenRealms"], needed);
  }
  const credential = account && completeCredential(account, new URL(url).host, known.readDockerLogin, report);
  return {
    ...settings,
    url,
    tokenRealms,
    ...(credential && { credential }),
    quota: { ...written.quota, reserve: written.quota.reserve ?? reserve },
  };
}

/** Whether a request to this origin could be read or answered by a neighbour. */
function isExposed(origin: string, known: Known): boolean {
  const { protocol, hostname } = new URL(origin);
  const address = hostname.replace(/^\[(.*)\]$/, "$1");
  return protocol === "http:" || (isIP(address) !== 0 && known.isPrivateAddress(address));
}
