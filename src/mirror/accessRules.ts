/** Rules of who may pull what, ready to be held against a request. */
import { isIP, type BlockList } from "node:net";
import type { Glob } from "../oci/glob.ts";
import type { ClientIdentity } from "./context.ts";

/** Whom a rule is for. */
export type AccessSubject =
  | { readonly kind: "everybody" }
  | { readonly kind: "token" | "user"; readonly name: string }
  /** Of a certificate: its common name, DNS names and URIs. `*` stands for anything. */
  | { readonly kind: "certificate"; readonly name: RegExp }
  | { readonly kind: "network"; readonly members: BlockList };

export interface AccessRule {
  readonly who: readonly AccessSubject[];
  /** A source host, or `*`. */
  readonly upstream: string;
  /** Names without the host. */
  readonly repositories: readonly Glob[];
  readonly allow: "pull" | "deny";
}

/** Does a client of this `identity` belong to `who`? */
export function matchesIdentity(who: AccessSubject, identity: ClientIdentity): boolean {
  switch (who.kind) {
    case "everybody":
      return true;
    case "token":
      return identity.token === who.name;
    case "user":
      return identity.user === who.name;
    case "certificate":
      return identity.certificate?.some((name) => who.name.test(name)) ?? false;
    case "network":
      return isWithin(identity.address, who.members);
  }
}

/** Is an IP address in one of these networks? */
export function isWithin(address: string | undefined, networks: BlockList): boolean {
  const version = isIP(address ?? "");
  return version !== 0 && networks.check(address ?? "", version === 4 ? "ipv4" : "ipv6");
}
