/** Loads configurations in tests: writes files into a folder of the test's own, and knows a few hosts. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { ConfigError, type Issue } from "../../../src/config/issue.ts";
import { loadConfig, type Config } from "../../../src/config/load.ts";
import { isPrivateAddress } from "../../../src/upstream/net/address.ts";
import { readDockerLogin } from "../../../src/upstream/auth/dockerConfig.ts";
import { knownRegistry } from "../../../src/upstream/presets.ts";

type Environment = Readonly<Record<string, string>>;

/** The path of a file with this text, gone when the test is. */
export function fileWith(text: string, name = "hubcap.yaml"): string {
  const folder = mkdtempSync(join(tmpdir(), "hubcap-config-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

/** The configuration in a YAML text and an environment. */
export function load(yaml: string, env: Environment = {}): Config {
  return loadFile(fileWith(yaml), env);
}

/** The configuration in a file and an environment. */
export function loadFile(file: string, env: Environment = {}): Config {
  return loadConfig({ file, env, knownRegistry, isPrivateAddress, readDockerLogin });
}

/** The error that a YAML text and an environment lead to. */
export function refusal(yaml: string, env: Environment = {}): ConfigError {
  try {
    load(yaml, env);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

/** What is wrong with a YAML text and an environment. */
export function issuesOf(yaml: string, env: Environment = {}): readonly Issue[] {
  return refusal(yaml, env).issues;
}

/** The value at a dotted path of keys, where `*` stands for docker.io. */
export function at(config: unknown, path: readonly string[]): unknown {
  let value = config;
  for (const key of path)
    value = (value as Record<string, unknown> | undefined)?.[key === "*" ? "docker.io" : key];
  return value;
}

/** A Docker `config.json` that knows these hosts as `user`, with `password`. */
export function dockerConfig(password: string, ...keys: string[]): string {
  const auth = Buffer.from(`user:${password}`).toString("base64");
  return JSON.stringify({ auths: Object.fromEntries(keys.map((key) => [key, { auth }])) });
}

/** Enough of a certificate for a file to be taken for one. */
export const certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
