/** The section `verify`: which images have to be signed, and by which keys or identities. */
import { z } from "zod";
import { jsonFile, publicKeyFile } from "./files.ts";
import type { Report } from "./issue.ts";
import { expression, repositoryPattern } from "./values.ts";

const identity = z.strictObject({
  subject: z.string().min(1).exactOptional().describe("The certificate's subject: a mail address or a URL."),
  subjectRegExp: expression().exactOptional().describe("The same, as a regular expression."),
  issuer: z.string().min(1).exactOptional().describe("The identity provider that vouched for the subject."),
  issuerRegExp: expression().exactOptional().describe("The same, as a regular expression."),
});

const cosign = z.strictObject({
  keys: z.array(publicKeyFile()).prefault([]).describe("Public keys, one of which must have signed."),
  identities: z
    .array(identity)
    .prefault([])
    .describe("Identities in short-lived certificates, one of which must have signed."),
  trustedRootFile: jsonFile()
    .exactOptional()
    .describe(
      "The trusted root: certificate authorities, logs and timestamp authorities, as sigstore's JSON.",
    ),
});

export const verification = z.strictObject({
  repositories: z.array(repositoryPattern()).min(1).describe("The repositories that this entry applies to."),
  cosign: cosign
    .exactOptional()
    .describe("The keys or identities whose signatures count; without it, none is needed."),
});

/** Reports each entry that no signature could meet, or any. */
export function checkVerify(entries: readonly z.output<typeof verification>[], report: Report): void {
  for (const [index, { cosign }] of entries.entries()) {
    if (cosign) checkSigners(cosign, ["verify", `${index}`, "cosign"], report);
  }
}

/** Identities must be so narrow that not every signer has one. */
function checkSigners(
  { keys, identities, trustedRootFile }: z.output<typeof cosign>,
  at: readonly string[],
  report: Report,
): void {
  if (keys.length === 0 && identities.length === 0) report(at, "keys or identities, whose signatures count");
  if (identities.length > 0 && trustedRootFile === undefined)
    report([...at, "trustedRootFile"], "the trusted root by which certificates of identities are judged");
  for (const [index, { subject, subjectRegExp, issuer, issuerRegExp }] of identities.entries()) {
    if ((subject === undefined) === (subjectRegExp === undefined))
      report([...at, "identities", `${index}`], "either subject or subjectRegExp");
    else if ((issuer === undefined) === (issuerRegExp === undefined))
      report([...at, "identities", `${index}`], "either issuer or issuerRegExp");
  }
}
