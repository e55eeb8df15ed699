/** Checks that a credential is written in one of the forms it can have. */
import { readFileSync } from "node:fs";
import type { Report } from "./issue.ts";
import type { CredentialSettings } from "./schema.ts";
import type { Secret } from "./secret.ts";

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
