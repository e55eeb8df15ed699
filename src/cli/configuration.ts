/** The configuration that a command runs with. */
import { fileURLToPath } from "node:url";
import { loadConfig, type Config } from "../config/load.ts";
import { isPrivateAddress } from "../upstream/address.ts";
import { readDockerLogin } from "../upstream/dockerConfig.ts";
import { presetOf } from "../upstream/presets.ts";

/** The shipped configuration, for a command line that names none. */
const shipped = fileURLToPath(new URL("../../config/hubcap.yaml", import.meta.url));

/** The source hosts of the shipped configuration, whatever the environment says. */
export function shippedUpstreams(): string[] {
  return Object.keys(
    loadConfig({ file: shipped, env: {}, presetOf, isPrivateAddress, readDockerLogin }).upstreams,
  );
}

/** The configuration in `file` and the environment. Throws ConfigError with every issue. */
export function readConfiguration(file = shipped): Config {
  return loadConfig({ file, env: process.env, presetOf, isPrivateAddress, readDockerLogin });
}
