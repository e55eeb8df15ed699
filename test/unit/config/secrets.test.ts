import { inspect } from "node:util";
import { expect, test } from "vitest";
import type { CredentialOptions } from "../../../src/upstream/auth/credentials.ts";
import { dockerConfig, fileWith, issuesOf, load, refusal } from "./configuration.ts";

const canary = "canary-5f1d";

/** A readable file that holds the canary among other things: this one. */
const passwordFile = import.meta.filename;

/** Checks at compile time that `upstream/` takes what is loaded. */
function credentialOf(credential: object, host = "docker.io"): CredentialOptions | undefined {
  const upstreams = { "docker.io": {}, [host]: { credential } };
  return load(JSON.stringify({ upstreams })).upstreams[host]?.credential;
}

test("a password stands in the configuration, or in a file that may change later", () => {
  const found = credentialOf({ username: "u", password: canary });
  expect(found && "password" in found && found.password.reveal()).toBe(canary);
  expect(credentialOf({ username: "u", passwordFile })).toEqual({ username: "u", passwordFile });
});

test.each([
  ["docker.io", "https://index.docker.io/v1/"],
  ["ghcr.io", "ghcr.io"],
])("a Docker config file for %s has a login under %s", (host, key) => {
  const dockerConfigFile = fileWith(dockerConfig(canary, "other.example", key));
  expect(credentialOf({ dockerConfigFile }, host)).toEqual({ dockerConfigFile });
});

test.each([
  [{ provider: "ecr" }],
  [{ provider: "ecr", region: "eu-central-1", registryId: "123456789012" }],
  [{ provider: "acr", accessTokenFile: passwordFile, tenant: "tenant.example" }],
])("a cloud's identity is a credential: %j", (credential) => {
  expect(credentialOf(credential)).toEqual(credential);
});

test.each([
  ["no form", {}],
  ["half a form", { username: "u" }],
  ["a password without a name", { password: canary }],
  ["two forms", { username: "u", password: canary, provider: "ecr" }],
  ["a password twice", { username: "u", password: canary, passwordFile }],
  ["what belongs to another form", { username: "u", password: canary, region: "eu-central-1" }],
  [
    "what belongs to another cloud",
    { provider: "acr", accessTokenFile: passwordFile, region: "eu-central-1" },
  ],
  ["half a cloud", { provider: "acr" }],
  ["a file that is not there", { username: "u", passwordFile: "/does/not/exist" }],
  ["a folder for a file", { username: "u", passwordFile: "/" }],
])("a credential with %s is refused", (_what, credential) => {
  const issues = issuesOf(JSON.stringify({ upstreams: { "docker.io": { credential } } }));
  expect(issues.map(({ path }) => path)).toEqual([
    expect.stringMatching(/^upstreams\.docker\.io\.credential/),
  ]);
});

test("an empty secret file is refused", () => {
  const empty = fileWith("\n");
  const issues = issuesOf(JSON.stringify({ admin: { tokenFile: empty } }));
  expect(issues).toMatchObject([{ path: "admin.tokenFile", value: JSON.stringify(empty) }]);
});

test("a secret in a file is read without the line end that editors add", () => {
  expect(
    load(JSON.stringify({ admin: { tokenFile: fileWith(`${canary}\r\n`) } })).admin.token?.reveal(),
  ).toBe(canary);
});

test("no way to print a configuration tells a secret", () => {
  const config = load(
    JSON.stringify({
      admin: { tokenFile: fileWith(canary) },
      upstreams: {
        "docker.io": { credential: { username: "u", password: canary } },
        "ghcr.io": { credential: { username: "u", passwordFile: fileWith(canary) } },
        "quay.io": { credential: { dockerConfigFile: fileWith(dockerConfig(canary, "quay.io")) } },
      },
    }),
  );
  const { credential } = config.upstreams["docker.io"] ?? {};
  const printed = [
    JSON.stringify(config),
    inspect(config, { depth: Infinity, showHidden: true }),
    String(credential && "password" in credential && credential.password),
  ];
  for (const text of printed) {
    expect(text).toContain("***");
    expect(text).not.toContain(canary);
  }
});

test.each([
  ["under a misspelt key", `credential: { username: u, pasword: ${canary} }`],
  ["where a section belongs", `credential: ${canary}`],
  ["in a list", `credential: { username: u, password: [${canary}] }`],
  ["as a number", "credential: { username: u, password: 5117 }"],
  ["in a URL", `url: "https://u:${canary}@registry.example"`],
  ["in a query", `url: "https://registry.example?token=${canary}"`],
  ["with another form", `credential: { username: u, password: ${canary}, provider: ecr }`],
  ["in a file that is no Docker config", `credential: { dockerConfigFile: ${JSON.stringify(passwordFile)} }`],
])("an error does not tell a secret that stands %s", (_what, yaml) => {
  const error = refusal(`upstreams:\n  docker.io:\n    ${yaml}\n`);
  const printed = [error.message, inspect(error, { depth: Infinity }), JSON.stringify(error.issues)];
  for (const text of printed) expect(text).not.toMatch(new RegExp(`${canary}|5117`));
});

test("an error does not tell a secret that the environment holds", () => {
  for (const env of [
    { HUBCAP_UPSTREAMS: canary },
    { HUBCAP_UPSTREAMS: `{ ${canary}: [` },
    { HUBCAP_UPSTREAMS_DOCKER_IO_CREDENTIAL_PASSWORT: canary },
    { HUBCAP_UPSTREAMS_DOCKER_IO_CREDENTIAL_PASSWORD: canary },
  ])
    expect(refusal("", env).message).not.toContain(canary);
});

test("a Docker config file without a login for the registry is refused by name", () => {
  const dockerConfigFile = fileWith(dockerConfig(canary, "other.example"));
  const [issue] = issuesOf(
    JSON.stringify({ upstreams: { "docker.io": { credential: { dockerConfigFile } } } }),
  );
  expect(issue?.value).toBe(JSON.stringify(dockerConfigFile));
  expect(issue?.expected).toBe(
    "a Docker config.json with a login for registry-1.docker.io (no entry for registry-1.docker.io)",
  );
});
