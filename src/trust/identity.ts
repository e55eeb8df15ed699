/** The signer in a certificate, and whether its signature counts. */
import type { Signer } from "@sigstore/verify";

/** The holder of a certificate with this subject and issuer: each either exact, or an expression. */
export interface Identity {
  readonly subject?: string;
  readonly subjectRegExp?: RegExp;
  readonly issuer?: string;
  readonly issuerRegExp?: RegExp;
}

type Holder = Signer["identity"];

/** cosign's rule: subject and issuer must both match, each exactly or by an expression that matches anywhere. */
export function isHolder(
  { subject, subjectRegExp, issuer, issuerRegExp }: Identity,
  { subjectAlternativeName, extensions }: NonNullable<Holder> = {},
): boolean {
  return (
    fits(subjectAlternativeName, subject, subjectRegExp) && fits(extensions?.issuer, issuer, issuerRegExp)
  );
}

/** Why a signature of another identity does not count. */
export function stranger({ subjectAlternativeName, extensions }: NonNullable<Holder> = {}): string {
  return `it was made by ${shown(subjectAlternativeName)} (issuer ${shown(extensions?.issuer)}), whose signature does not count`;
}

/** Untrusted text for a message of ours. */
export function shown(text: string | undefined): string {
  return (text ?? "nobody").replaceAll(/[^ -~]/g, " ").slice(0, 200);
}

function fits(text: string | undefined, exact: string | undefined, expression: RegExp | undefined): boolean {
  if (text === undefined) return false;
  return exact === undefined ? (expression?.test(text) ?? false) : text === exact;
}
