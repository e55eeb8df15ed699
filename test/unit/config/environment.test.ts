import { join } from "node:path";
import { expect, test } from "vitest";
import { Secret } from "../../../src/config/secret.ts";
import { settings, variableOf, type Setting } from "../../../src/config/settings.ts";
import { parsePattern } from "../../../src/oci/pattern.ts";
import { at, certificate, dockerConfig, fileWith, issuesOf, load } from "./configuration.ts";

const single = settings.filter(({ type }) => type !== "section");
const named = (setting: Setting): string => setting.path.join(".");
const variable = (path: string): string => variableOf(path.replace("*", "docker.io").split("#"));
const nameOf = (setting: Setting): string => variable(setting.path.join("#"));

/** A value of each kind, or of one setting: how a variable holds it, and what it becomes. */
const samples: Readonly<Record<string, () => { text: string; value: unknown }>> = {
  "policy.rules": () => ({
    text: "[{ match: ['**'], minAge: 7d, maxSize: 1GB, platforms: [linux/arm/v7] }]",
    value: [
      {
        match: [parsePattern("**")],
        pull: "allow",
        digestOnly: false,
        minAge: 604_800_000,
        maxSize: 1e9,
        platforms: [{ os: "linux", architecture: "arm", variant: "v7" }],
      },
    ],
  }),
  "identities.tokens": () => {
    const file = fileWith("a token\n");
    return { text: `[{ name: ci, file: ${file} }]`, value: [{ name: "ci", file }] };
  },
  access: () => ({
    text: "[{ who: ['*', 'network:10.0.0.0/8'], upstream: ghcr.io, allow: pull }]",
    value: [
      {
        who: [{ kind: "everybody" }, { kind: "network", address: "10.0.0.0", prefix: 8, family: "ipv4" }],
        upstream: "ghcr.io",
        repositories: ["**"],
        allow: "pull",
      },
    ],
  }),
  "warm.lists": () => ({
    text: "[{ images: [nginx], schedule: '30 3 * * *' }]",
    value: [{ images: ["nginx"], schedule: "30 3 * * *", timeZone: "UTC", onStart: false, pin: false }],
  }),
  verify: () => ({
    text: "[{ repositories: ['ghcr.io/org/**'] }]",
    value: [{ repositories: [parsePattern("ghcr.io/org/**")] }],
  }),
  address: () => ({ text: "127.0.0.1:7000", value: { host: "127.0.0.1", port: 7000 } }),
  "credential file": () => {
    const text = fileWith(dockerConfig("x", "https://index.docker.io/v1/"));
    return { text, value: text };
  },
  duration: () => ({ text: "7s", value: 7000 }),
  file: () => ({ text: fileWith(certificate), value: certificate }),
  host: () => ({ text: "ghcr.io", value: "ghcr.io" }),
  "list of hosts": () => ({ text: "[ghcr.io]", value: ["ghcr.io"] }),
  "list of image patterns": () => ({
    text: "[ghcr.io/org/*]",
    value: [parsePattern("ghcr.io/org/*")],
  }),
  "list of sections": () => ({
    text: "[{ match: '**', maxAge: 7d }]",
    value: [{ match: parsePattern("**"), maxAge: 7 * 24 * 60 * 60 * 1000 }],
  }),
  "list of namespaces": () => ({ text: "[shop]", value: ["shop"] }),
  "list of networks": () => ({
    text: "[10.0.0.0/8]",
    value: [{ address: "10.0.0.0", prefix: 8, family: "ipv4" }],
  }),
  "list of platforms": () => ({
    text: "[linux/arm/v7]",
    value: [{ os: "linux", architecture: "arm", variant: "v7" }],
  }),
  "list of origins": () => ({ text: "- https://other.example", value: ["https://other.example"] }),
  "header file": () => ({ text: fileWith("Name: value\n"), value: { Name: new Secret("value") } }),
  alerts: () => ({
    text: "[{ url: 'https://hooks.example', on: [disk] }]",
    value: [{ url: new Secret(""), on: ["disk"], format: "json", minInterval: 300_000 }],
  }),
  number: () => ({ text: "7.5", value: 7.5 }),
  origin: () => ({ text: "https://other.example", value: "https://other.example" }),
  "PEM file": () => {
    const text = fileWith(certificate);
    return { text, value: text };
  },
  path: () => ({ text: "/elsewhere", value: "/elsewhere" }),
  secret: () => ({ text: "a: secret # {", value: "a: secret # {" }),
  "secret file": () => ({ text: fileWith("a secret\n"), value: "a secret" }),
  share: () => ({ text: "20%", value: 0.2 }),
  size: () => ({ text: "7MB", value: 7_000_000 }),
  URL: () => ({ text: "http://collector.example:4318", value: "http://collector.example:4318/" }),
  text: () => ({ text: "12345", value: "12345" }),
  "true or false": () => ({ text: "true", value: true }),
  "whole number": () => ({ text: "7", value: 7 }),
};

/** A file with something in it that begins as PEM does. */
const pem = join(import.meta.dirname, "configuration.ts");

/** Settings that mean nothing alone, and what they are tried with. */
const companions: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  username: { password: "x" },
  password: { username: "x" },
  passwordFile: { username: "x" },
  provider: { accessTokenFile: import.meta.filename },
  region: { provider: "ecr" },
  registryId: { provider: "ecr" },
  accessTokenFile: { provider: "acr" },
  tenant: { provider: "acr", accessTokenFile: import.meta.filename },
  highWater: { lowWater: "10%" },
  certificateFile: { keyFile: pem },
  keyFile: { certificateFile: pem },
  clientCaFile: { certificateFile: pem, keyFile: pem },
  clientCertificates: { certificateFile: pem, keyFile: pem, clientCaFile: pem },
  limit: { window: "1h" },
  window: { limit: "1" },
};

/** Settings that stand elsewhere once they are read. */
const places: Readonly<Record<string, string>> = { tokenFile: "token" };

const yaml = "upstreams: { docker.io: {}, ghcr.io: {} }";

test.each(single.map((setting) => [nameOf(setting), setting] as const))(
  "%s sets its setting",
  (name, setting) => {
    const choice = setting.type.includes(" or ") ? setting.type.split(" or ").at(-1) : setting.type;
    const sample = samples[named(setting)] ?? samples[setting.type];
    const { text, value } = (sample ?? (() => ({ text: choice ?? "", value: choice })))();
    const section = setting.path.slice(0, -1);
    const key = setting.path.at(-1) ?? "";
    const beside = Object.entries(companions[key] ?? {}).map(([other, text]) => [
      variable([...section, other].join("#")),
      text,
    ]);
    const found = at(load(yaml, { [name]: text, ...(Object.fromEntries(beside) as object) }), [
      ...section,
      places[key] ?? key,
    ]);
    expect(
      found instanceof Object && "reveal" in found ? (found as { reveal(): string }).reveal() : found,
    ).toEqual(value);
  },
);

test("no two settings share a variable", () => {
  const names = settings.map(nameOf);
  expect(new Set(names).size).toBe(names.length);
});

test.each(settings.map((setting) => [nameOf(setting), setting] as const))(
  "an empty %s is refused",
  (name, setting) => {
    const path = named(setting).replace("*", "docker.io");
    expect(issuesOf(yaml, { [name]: "" }).map(({ path }) => path)).toContain(`${path} (${name})`);
  },
);

test("a section's variable takes the place of the file's section, and its settings' variables go before it", () => {
  const config = load(
    "freshness: { tagTtl: 1m, staleIfError: 1d }\nupstreams: { docker.io: {}, quay.io: {} }",
    {
      HUBCAP_FRESHNESS_TAG_TTL: "3m",
      HUBCAP_FRESHNESS: "{ tagTtl: 2m }",
      HUBCAP_UPSTREAMS: "{ docker.io: {}, ghcr.io: {} }",
      HUBCAP_UPSTREAMS_GHCR_IO_WHEN_EXHAUSTED: "fallback",
    },
  );
  expect(config.freshness).toEqual({ tagTtl: 180_000, staleIfError: 30 * 86_400_000 });
  expect(Object.keys(config.upstreams)).toEqual(["docker.io", "ghcr.io"]);
  expect(config.upstreams["ghcr.io"]?.whenExhausted).toBe("fallback");
});

test.each([
  ["misspelt", { HUBCAP_STORAGE_ROT: "/data" }, /did you mean HUBCAP_STORAGE_ROOT\?/],
  ["of an upstream that is not configured", { HUBCAP_UPSTREAMS_QUAY_IO_CA: "/ca.pem" }, /name of a setting/],
  ["removed", { HUBCAP_IDENTITIES_OWN_CREDENTIALS: "[docker.io]" }, /it was removed/],
  ["not YAML", { HUBCAP_UPSTREAMS: "{ docker.io: {}" }, /YAML/],
])("a variable that is %s is refused", (_what, env, expected) => {
  const [issue, ...more] = issuesOf(yaml, env);
  expect(issue?.path).toBe(Object.keys(env)[0]);
  expect(issue?.expected).toMatch(expected);
  expect(more).toEqual([]);
});

test("a variable that could mean either of two upstreams is refused", () => {
  const hosts =
    "upstreams: { docker.io: {}, a-b.example: { url: 'https://a' }, a.b.example: { url: 'https://b' } }";
  const [issue] = issuesOf(hosts, { HUBCAP_UPSTREAMS_A_B_EXAMPLE_URL: "https://c" });
  expect(issue).toMatchObject({
    path: "HUBCAP_UPSTREAMS_A_B_EXAMPLE_URL",
    value: "a name for both upstreams.a-b.example.url and upstreams.a.b.example.url",
  });
});

test("the variables that Kubernetes makes for a Service called hubcap are no settings", () => {
  const env = {
    HUBCAP_SERVICE_HOST: "10.0.0.1",
    HUBCAP_SERVICE_PORT: "5000",
    HUBCAP_SERVICE_PORT_REGISTRY: "5000",
    HUBCAP_PORT: "tcp://10.0.0.1:5000",
    HUBCAP_PORT_5000_TCP: "tcp://10.0.0.1:5000",
    HUBCAP_PORT_5000_TCP_ADDR: "10.0.0.1",
    HUBCAP_STATUS_PORT_5001_TCP_PROTO: "tcp",
  };
  expect(load("", env)).toEqual(load(""));
});
