/** Completes an upstream as it is written with what is known of its host and with its credential. */
import { isIP } from "node:net";
import { completeCredential, type Credential, type ReadDockerLogin } from "./credential.ts";
import type { Report } from "./issue.ts";
import type { UpstreamSettings } from "./schema.ts";

/** Where the registry of a well-known host answers, and where its tokens come from. */
export interface Preset {
  readonly url: string;
  readonly tokenRealms: readonly string[];
}

/** What the upstream room knows, handed in because configuration may not ask it. */
export interface Known {
  /** What need not be configured for a host, or undefined when it is not a known one. */
  readonly presetOf: (host: string) => Preset | undefined;
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
  const preset = written.url === undefined ? known.presetOf(host) : undefined;
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
