/** The identity of a client: what its request and its connection prove of it. */
import type { IncomingMessage } from "node:http";
import { isIP, type BlockList } from "node:net";
import { TLSSocket, type PeerCertificate } from "node:tls";
import { isWithin } from "../mirror/accessRules.ts";
import type { ClientIdentity } from "../mirror/context.ts";
import type { Passwords } from "./passwords.ts";
import type { Tokens } from "./tokens.ts";

export interface IdentitiesOptions {
  readonly tokens: readonly Tokens[];
  readonly passwords: Passwords | undefined;
  /** Proxies whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: BlockList;
  /** When are clients asked for a credential: never, where something is denied, or always, at `/v2/` already? */
  readonly challenges: "never" | "denied" | "always";
}

/** The identities of the clients of requests. */
export class Identities {
  readonly #options: IdentitiesOptions;
  /** By connection, since one may bring many requests. */
  readonly #certificates = new WeakMap<TLSSocket, readonly string[]>();

  constructor(options: IdentitiesOptions) {
    this.#options = options;
  }

  /** @throws RegistryError when too many passwords are being checked. */
  async of(incoming: IncomingMessage): Promise<ClientIdentity> {
    const { socket, headers } = incoming;
    const address = this.#addressOf(incoming);
    const certificate = socket instanceof TLSSocket ? this.#certificateOf(socket) : [];
    return {
      ...(address !== undefined && { address }),
      ...(certificate.length > 0 && { certificate }),
      ...(headers.authorization !== undefined &&
        (await this.#proven(headers.authorization, address ?? "unknown"))),
    };
  }

  /** What an Authorization header proves; nothing unless its token or password is one of ours. */
  async #proven(header: string, address: string): Promise<Pick<ClientIdentity, "token" | "user">> {
    const { passwords } = this.#options;
    const [, scheme = "", value = ""] = /^(bearer|basic) +(\S+) *$/i.exec(header) ?? [];
    if (scheme.toLowerCase() === "bearer") return this.#named(value) ?? {};
    const login = scheme === "" ? undefined : readBasic(value);
    if (!login) return {};
    const { username, password } = login;
    const token = this.#named(password);
    if (token) return token;
    return (await passwords?.isRight(username, password, address)) ? { user: username } : {};
  }

  /** Should `/v2/` respond that a credential is needed? A wrong one is refused there unless the setting is `never`. */
  challengesPing({ headers }: IncomingMessage, identity: ClientIdentity): boolean {
    const { challenges } = this.#options;
    if (challenges === "never" || identity.token !== undefined || identity.user !== undefined) return false;
    if (headers.authorization !== undefined) return true;
    return challenges === "always" && identity.certificate === undefined;
  }

  #named(token: string): Pick<ClientIdentity, "token"> | undefined {
    // All files are searched, so that the time does not tell which it was.
    const [found] = this.#options.tokens.filter((tokens) => tokens.has(token));
    return found && { token: found.name };
  }

  #certificateOf(socket: TLSSocket): readonly string[] {
    // Where certificates are optional, those of unknown authorities come this far, too.
    if (!socket.authorized) return [];
    const known = this.#certificates.get(socket) ?? namesOf(socket.getPeerCertificate());
    this.#certificates.set(socket, known);
    return known;
  }

  /** The client's address. Each proxy appends the address of its client; the last one that is no trusted proxy counts. */
  #addressOf({ socket, headers }: IncomingMessage): string | undefined {
    const { trustedProxies } = this.#options;
    const hops = [headers["x-forwarded-for"] ?? []].flat().join(",").split(",");
    let address = plain(socket.remoteAddress);
    while (isWithin(address, trustedProxies)) {
      const before = plain(hops.pop()?.trim()) || undefined;
      // The proxy itself is the client.
      if (before === undefined) break;
      // The proxy names a client that we cannot read: that may be anyone, but is not the proxy.
      if (isIP(before) === 0) return undefined;
      address = before;
    }
    return address;
  }
}

/** RFC 7617: the user name ends at the first colon. */
function readBasic(value: string): { readonly username: string; readonly password: string } | undefined {
  const text = Buffer.from(value, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** An IPv4 address without the IPv6 prefix that sockets for both families give it. */
function plain(address: string | undefined): string | undefined {
  return address?.replace(/^::ffff:(?=\d+\.)/i, "");
}

/** The names in a client's certificate for rules: common name, DNS names and URIs. None of the latter two if Node's text of them is not understood. */
export function namesOf(certificate: PeerCertificate): readonly string[] {
  const { subject, subjectaltname = "" } = certificate;
  const common = [subject?.CN ?? []].flat();
  return [...new Set([...common, ...alternativeNames(subjectaltname)])];
}

/**
 * `DNS:a, URI:b`, where Node writes a name with a comma or a quote in it as a JSON string. Read from left to right, since a
 * name may contain what looks like another one.
 */
function alternativeNames(text: string): string[] {
  const names: string[] = [];
  const part = /(?<kind>[A-Za-z ]+):(?:"(?:[^"\\]|\\.)*"|(?<plain>[^",]*))(?:, |$)/y;
  while (part.lastIndex < text.length) {
    const { kind, plain } = part.exec(text)?.groups ?? {};
    if (kind === undefined) return [];
    if ((kind === "DNS" || kind === "URI") && plain) names.push(plain);
  }
  return names;
}
