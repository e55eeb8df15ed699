/** What a command is given: its configuration, and the files and addresses after its options. */
import { fileURLToPath } from "node:url";
import { loadConfig, type Config } from "../config/load.ts";
import { isPrivateAddress } from "../upstream/net/address.ts";
import { readDockerLogin } from "../upstream/auth/dockerConfig.ts";
import { knownRegistry } from "../upstream/presets.ts";
import { readFileSync } from "node:fs";
import { UsageError } from "./exit.ts";

/** The shipped configuration, for a command line that names none. */
const shipped = fileURLToPath(new URL("../../config/hubcap.yaml", import.meta.url));

/** What the configuration asks of modules below it. */
const known = { knownRegistry, isPrivateAddress, readDockerLogin };

/** The source hosts of the shipped configuration, whatever the environment says. */
export function shippedUpstreams(): string[] {
  return Object.keys(loadConfig({ file: shipped, env: {}, ...known }).upstreams);
}

/** The configuration in `file` and the environment. Throws ConfigError with every issue. */
export function readConfiguration(file = shipped): Config {
  return loadConfig({ file, env: process.env, ...known });
}

/** The text of the file that follows `option`. @throws UsageError when it cannot be read. */
export function readText(option: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`${option} ${file} cannot be read`, { cause: error });
  }
}

/** The address of a server, by http or https and without path, user or query; undefined for any other text. */
export function parseOrigin(text: string): URL | undefined {
  const url = URL.parse(text);
  if (url?.protocol !== "http:" && url?.protocol !== "https:") return undefined;
  return url.href === `${url.origin}/` ? url : undefined;
}
