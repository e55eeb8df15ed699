/** Accounts as they are configured, made into credentials. */
import type { Clock } from "../../async/clock.ts";
import { AcrExchange } from "./acr.ts";
import { type Credential, AccountSecret } from "./credential.ts";
import { readDockerLogin, type DockerLogin } from "./dockerConfig.ts";
import { EcrLogin } from "./ecr.ts";
import { SecretFile } from "./secretFile.ts";

/**
 * One account, as it is configured. A user name with a password covers the documented logins of Azure (a service principal, or
 * `00000000-0000-0000-0000-000000000000` with a refresh token) and of Google (`_json_key`, `_json_key_base64`, `oauth2accesstoken`).
 */
export type CredentialOptions =
  | { readonly username: string; readonly password: { reveal(): string } }
  | { readonly username: string; readonly passwordFile: string }
  | { readonly dockerConfigFile: string }
  | { readonly provider: "ecr"; readonly region?: string; readonly registryId?: string }
  | { readonly provider: "acr"; readonly accessTokenFile: string; readonly tenant?: string };

/**
 * The credential that `options` describe for the registry at `url`. Files are read once, so that a missing one is known at start.
 * @throws Error that names the file and what is wrong with it, never what it holds.
 */
export async function openCredential(
  options: CredentialOptions,
  url: string,
  clock: Pick<Clock, "now">,
): Promise<Credential> {
  const { host, hostname } = new URL(url);
  if ("dockerConfigFile" in options) {
    return openFile(options.dockerConfigFile, (text) => readDockerLogin(text, host));
  }
  if ("passwordFile" in options) {
    const { username: account, passwordFile } = options;
    // Editors and `echo` end a file with a line end that is no part of the password.
    const read = (text: string): AccountSecret => new AccountSecret(account, text.replace(/[\r\n]+$/, ""));
    return openFile(passwordFile, (text) => ({ account, secret: read(text) }));
  }
  if ("password" in options) {
    const { username: account, password } = options;
    const secret = new AccountSecret(account, password.reveal());
    return { account, secret: async () => secret, refused: () => undefined };
  }
  return options.provider === "ecr"
    ? new EcrLogin(hostname, options, clock)
    : new AcrExchange(url, options, clock);
}

async function openFile(path: string, read: (text: string) => DockerLogin): Promise<Credential> {
  const file = new SecretFile(path, read);
  const login = async (): Promise<DockerLogin> => {
    try {
      return await file.value();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`cannot read the credential in ${path}: ${why}`, { cause: error });
    }
  };
  const { account } = await login();
  return { account, secret: async () => (await login()).secret, refused: () => file.forget() };
}
