/** The names in a client's certificate that rules may go by: its common name, DNS names and URIs. */
import type { PeerCertificate } from "node:tls";

/** The names; none when the text of the alternative names is not what Node writes. */
export function namesOf(certificate: PeerCertificate): readonly string[] {
  const { subject, subjectaltname = "" } = certificate;
  const common = [subject?.CN ?? []].flat();
  return [...new Set([...common, ...alternativeNames(subjectaltname)])];
}

/**
 * `DNS:a, URI:b`, where Node writes a name with a comma or a quote in it as a string of JSON. Read from left to right, since
 * what looks like a name may stand inside of another.
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
