/** The section `credential` of an upstream, which is written in one of the forms that it can have. */
import { readFileSync } from "node:fs";
import { z } from "zod";
import { credentialFile } from "./files.ts";
import type { Report } from "./issue.ts";
import type { Secret } from "./secret.ts";
import { secret } from "./values.ts";

/** What a credential may say, in all of its forms. */
export const credential = z.strictObject({
  username: z
    .string()
    .min(1)
    .exactOptional()
    .describe("The account that pulls; needs `password` or `passwordFile`."),
  password: secret().exactOptional().describe("The account's password or access token."),
  passwordFile: credentialFile()
    .exactOptional()
    .describe("A file that holds the password or access token; reread when it changes."),
  dockerConfigFile: credentialFile()
    .exactOptional()
    .describe(
      "A Docker `config.json`, as in a `kubernetes.io/dockerconfigjson` secret, with a login for the host of `url`; reread when it changes.",
    ),
  provider: z
    .enum(["ecr", "acr"])
    .exactOptional()
    .describe(
      "A cloud whose identity is exchanged for a login: `ecr` by the AWS SDK's chain of identities, `acr` by a Microsoft Entra access token.",
    ),
  region: z.string().min(1).exactOptional().describe("For `ecr`: the region, unless the host names it."),
  registryId: z
    .string()
    .min(1)
    .exactOptional()
    .describe("For `ecr`: the account of the registry, unless the host names it."),
  accessTokenFile: credentialFile()
    .exactOptional()
    .describe("For `acr`: a file with an access token, which something else renews."),
  tenant: z.string().min(1).exactOptional().describe("For `acr`: the tenant, unless the registry names it."),
});

type CredentialSettings = z.output<typeof credential>;

/** The one account of an upstream. Its files have been read once; they are read again when they change. */
export type Credential =
  | { readonly username: string; readonly password: Secret }
  | { readonly username: string; readonly passwordFile: string }
  | { readonly dockerConfigFile: string }
  | { readonly provider: "ecr"; readonly region?: string; readonly registryId?: string }
  | { readonly provider: "acr"; readonly accessTokenFile: string; readonly tenant?: string };

/** Finds the login for a host in a Docker `config.json`. Throws Error that says what is wrong without quoting the text. */
export type ReadDockerLogin = (text: string, host: string) => unknown;

interface Form {
  readonly provider?: CredentialSettings["provider"];
  readonly needs: readonly (keyof CredentialSettings)[];
  readonly may?: readonly (keyof CredentialSettings)[];
}

const forms: readonly Form[] = [
  { needs: ["username", "password"] },
  { needs: ["username", "passwordFile"] },
  { needs: ["dockerConfigFile"] },
  { provider: "ecr", needs: ["provider"], may: ["region", "registryId"] },
  { provider: "acr", needs: ["provider", "accessTokenFile"], may: ["tenant"] },
];

const expected =
  "one of username and password, username and passwordFile, dockerConfigFile, provider: ecr, or provider: acr and accessTokenFile";

/** The credential for the registry at `host`, or undefined after a report. */
export function completeCredential(
  written: CredentialSettings,
  host: string,
  readDockerLogin: ReadDockerLogin,
  report: Report,
): Credential | undefined {
  const form = forms.find(
    ({ provider, needs, may = [] }) =>
      written.provider === provider &&
      needs.every((key) => key in written) &&
      Object.keys(written).every((key) => [...needs, ...may].some((known) => known === key)),
  );
  if (form === undefined) {
    report(["credential"], expected);
    return undefined;
  }
  if (written.dockerConfigFile !== undefined) {
    try {
      readDockerLogin(readFileSync(written.dockerConfigFile, "utf8"), host);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "it cannot be read";
      report(["credential", "dockerConfigFile"], `a Docker config.json with a login for ${host} (${reason})`);
    }
  }
  return written as Credential; // The form says which keys are there.
}
