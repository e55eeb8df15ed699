/** The section `verify`: which images have to be signed, and by whom. */
import { z } from "zod";
import { expression, jsonFile, publicKeyFile, repositoryPattern } from "./values.ts";

const identity = z.strictObject({
  subject: z.string().min(1).exactOptional().describe("Whom the certificate names: a mail address or a URL."),
  subjectRegExp: expression().exactOptional().describe("The same, as a regular expression."),
  issuer: z.string().min(1).exactOptional().describe("The identity provider that vouched for the subject."),
  issuerRegExp: expression().exactOptional().describe("The same, as a regular expression."),
});

const cosign = z.strictObject({
  keys: z.array(publicKeyFile()).prefault([]).describe("Public keys, of which one has to have signed."),
  identities: z
    .array(identity)
    .prefault([])
    .describe("Holders of short-lived certificates, of whom one has to have signed."),
  trustedRootFile: jsonFile()
    .exactOptional()
    .describe(
      "The trusted root: certificate authorities, logs and timestamp authorities, as sigstore's JSON.",
    ),
});

export const verification = z.strictObject({
  repositories: z.array(repositoryPattern()).min(1).describe("The repositories that this entry is for."),
  cosign: cosign.exactOptional().describe("Whose signatures count; without it, none is needed."),
});

/** One of `verify.*.cosign`, as it is read. */
export type CosignSettings = z.output<typeof cosign>;
