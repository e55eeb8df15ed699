/** The configuration that a command runs with. */
import { fileURLToPath } from "node:url";
import { loadConfig, type Config } from "../config/load.ts";
import { isPrivateAddress } from "../upstream/net/address.ts";
import { readDockerLogin } from "../upstream/auth/dockerConfig.ts";
import { knownRegistry } from "../upstream/presets.ts";

/** The shipped configuration, for a command line that names none. */
const shipped = fileURLToPath(new URL("../../config/hubcap.yaml", import.meta.url));

/** What the configuration may ask of the upstream module. */
const known = { knownRegistry, isPrivateAddress, readDockerLogin };

/** The source hosts of the shipped configuration, whatever the environment says. */
export function shippedUpstreams(): string[] {
  return Object.keys(loadConfig({ file: shipped, env: {}, ...known }).upstreams);
}

/** The configuration in `file` and the environment. Throws ConfigError with every issue. */
export function readConfiguration(file = shipped): Config {
  return loadConfig({ file, env: process.env, ...known });
}
