/** Docker's `config.json`, the form of `kubernetes.io/dockerconfigjson` secrets: the entry of one registry. */
import { AccountSecret } from "./credential.ts";

// `docker login` keeps Docker Hub under this key since the days of the v1 API.
const hubKeys = ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];

interface Entry {
  readonly auth?: unknown;
  readonly username?: unknown;
  readonly password?: unknown;
  readonly identitytoken?: unknown;
}

/** An entry's secret, and the user name under which it may be shown. */
export interface DockerLogin {
  readonly account: string;
  readonly secret: AccountSecret;
}

/**
 * The login that `text` holds for `host` (with its port, if any). Keys must name exactly this host: a key for a path of it,
 * or for another host of its domain, belongs to another registry.
 * @throws Error that says what is wrong, without quoting the file.
 */
export function readDockerLogin(text: string, host: string): DockerLogin {
  const entries = Object.entries(readAuths(text));
  const keys = host === "registry-1.docker.io" ? hubKeys : [host];
  const hosts = new Set(keys.map(hostOf));
  const entry = entries.find(([key]) => hosts.has(hostOf(key)))?.[1];
  if (typeof entry !== "object" || entry === null) throw new Error(`no entry for ${host}`);
  return loginOf(entry, host);
}

function readAuths(text: string): object {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which holds secrets.
    throw new Error("not JSON");
  }
  const auths = typeof config === "object" && config !== null && "auths" in config ? config.auths : undefined;
  if (typeof auths !== "object" || auths === null) throw new Error(`no "auths"`);
  return auths;
}

function loginOf(entry: Entry, host: string): DockerLogin {
  const { auth, identitytoken } = entry;
  const [user, password] =
    typeof auth === "string" && auth !== "" ? splitAuth(auth, host) : [entry.username, entry.password];
  const username = typeof user === "string" ? user : "";
  if (typeof identitytoken === "string" && identitytoken !== "") {
    // "<token>" is what Docker itself calls an account that is only a token.
    return {
      account: username || "<token>",
      secret: new AccountSecret(username || "<token>", identitytoken, true),
    };
  }
  if (username === "" || typeof password !== "string" || password === "") {
    throw new Error(
      `the entry for ${host} has neither "auth" nor "username" and "password" nor "identitytoken"`,
    );
  }
  return { account: username, secret: new AccountSecret(username, password) };
}

function splitAuth(auth: string, host: string): [string, string] {
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon === -1) throw new Error(`the "auth" for ${host} is not base64 of user:password`);
  // Docker pads with NUL.
  return [text.slice(0, colon), text.slice(colon + 1).replace(/\0+$/, "")];
}

function hostOf(key: string): string {
  return key
    .toLowerCase()
    .replace(/^https?:\/\//, "")
    .replace(/\/(?:v[12]\/?)?$/, "");
}
