import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ConfigError } from "../../../src/config/issue.ts";
import { settings } from "../../../src/config/settings.ts";
import { certificate, fileWith, issuesOf, load, loadFile, refusal } from "./configuration.ts";

test("an empty file is a working configuration", () => {
  const config = load("# nothing but a comment\n");
  expect(config).toMatchObject({
    registry: { listen: { host: "0.0.0.0", port: 5000 } },
    status: { listen: { host: "0.0.0.0", port: 5001 } },
    storage: { root: join(process.cwd(), "storage"), capacity: 50 * 2 ** 30 },
    freshness: { tagTtl: 300_000, staleIfError: 30 * 86_400_000 },
    defaultUpstream: "docker.io",
    admin: {},
  });
  expect(config.upstreams["docker.io"]).toEqual({
    url: "https://registry-1.docker.io",
    tokenRealms: ["https://auth.docker.io"],
    allowPrivateAddresses: false,
    timeouts: { connect: 5000, headers: 15_000, stall: 30_000 },
    quota: { reserve: 0.1, maxWait: 15_000, concurrency: 16 },
    whenExhausted: "hold",
    alternates: [],
  });
});

test("all that is wrong is said at once, with path, value and what was expected", () => {
  const issues = issuesOf(
    `
registry: { listen: 5000 }
storage: { rot: /data, capacity: 50 gigabytes }
freshness: often
log: { level: loud }
quota: { low: 5%, lowTtlFactor: 0.5 }
defaultUpstream: hub.docker.io
upstreams:
  docker.io:
    url: http://user:hunter2@10.0.0.1/v2
    quota: { limit: 100, maxWait: 1m, concurrency: 0 }
    alternates: [docker.io, mirror.gcr.io]
    credential: { username: cluster, password: hunter2, passwordFile: /does/not/exist }
  Harbor.example: {}
  harbor.example: { allowPrivateAddresses: "yes", timeouts: { connect: 0s } }
`,
    { HUBCAP_FRESHNES_TAG_TTL: "5m", HUBCAP_SHUTDOWN_GRACE: "long" },
  );
  expect(
    Object.fromEntries(issues.map(({ path, value, expected }) => [path, `${value} | ${expected}`])),
  ).toEqual({
    HUBCAP_FRESHNES_TAG_TTL:
      "an unknown variable | the name of a setting; did you mean HUBCAP_FRESHNESS_TAG_TTL?",
    "shutdown.grace (HUBCAP_SHUTDOWN_GRACE)": `"long" | a duration such as 250ms, 5m or 30d, at most 1h`,
    "registry.listen": "5000 | an address and port such as 0.0.0.0:5000 or [::]:5000",
    "storage.rot": "text | a known setting; did you mean root?",
    "storage.capacity": `"50 gigabytes" | a size such as 50GiB or 500MB`,
    freshness: "text | a mapping",
    "log.level": `"loud" | debug or info or warn or error`,
    "quota.low": `"5%" | no less than quota.reserve`,
    "quota.lowTtlFactor": "0.5 | at least 1",
    defaultUpstream: `"hub.docker.io" | one of the configured upstreams: docker.io, Harbor.example, harbor.example`,
    "upstreams.docker.io.url": `"http://***@10.0.0.1/v2" | an origin such as https://registry.example, without path, user or query`,
    "upstreams.docker.io.quota.maxWait": `"1m" | a duration such as 250ms, 5m or 30d, at most 29s`,
    "upstreams.docker.io.quota.concurrency": "0 | at least 1",
    "upstreams.docker.io.alternates.0": `"docker.io" | another one of the configured upstreams`,
    "upstreams.docker.io.alternates.1": `"mirror.gcr.io" | another one of the configured upstreams`,
    "upstreams.docker.io.credential.passwordFile": `"/does/not/exist" | the path of a readable file that is not empty`,
    "upstreams.Harbor.example":
      "a mapping | a lower-case host as in image names, such as ghcr.io or harbor.example:8443, without :443",
    "upstreams.harbor.example.allowPrivateAddresses": `"yes" | true or false`,
    "upstreams.harbor.example.timeouts.connect": `"0s" | a duration such as 250ms, 5m or 30d, at least 100ms, at most 1h`,
    "upstreams.harbor.example.url": "nothing | the URL of the registry, as this host is not a known one",
  });
});

test.each([
  ["two listeners on one port", "status: { listen: '127.0.0.1:5000' }", ["status.listen"]],
  [
    "a listener that meets the other one's default",
    "registry: { listen: '0.0.0.0:5001' }",
    ["status.listen"],
  ],
  [
    "an upstream without TLS",
    "upstreams: { docker.io: { url: 'http://hub.example' } }",
    ["upstreams.docker.io.url"],
  ],
  [
    "a private address",
    "upstreams: { docker.io: { url: 'https://192.168.1.1' } }",
    ["upstreams.docker.io.url"],
  ],
  [
    "a private IPv6 address",
    "upstreams: { docker.io: { url: 'https://[fd00::1]' } }",
    ["upstreams.docker.io.url"],
  ],
  [
    "an address in disguise",
    "upstreams: { docker.io: { url: 'https://2130706433' } }",
    ["upstreams.docker.io.url"],
  ],
  [
    "a token realm without TLS",
    "upstreams: { docker.io: { tokenRealms: ['http://auth.example'] } }",
    ["upstreams.docker.io.tokenRealms"],
  ],
  [
    "a host that is never asked for",
    "upstreams: { docker.io: {}, 'ghcr.io:443': {} }",
    ["upstreams.ghcr.io:443"],
  ],
  ["a rule for no image", "policy: { rules: [{ match: [] }] }", ["policy.rules.0.match"]],
  [
    "a platform that is none",
    "policy: { rules: [{ match: ['**'], platforms: [linux] }] }",
    ["policy.rules.0.platforms.0"],
  ],
  [
    "a tag where repositories belong",
    "verify: [{ repositories: ['ghcr.io/org/app:1'] }]",
    ["verify.0.repositories.0"],
  ],
  ["no signature that counts", "verify: [{ repositories: ['**'], cosign: {} }]", ["verify.0.cosign"]],
  [
    "a key that is none",
    `verify: [{ repositories: ['**'], cosign: { keys: ['${import.meta.filename}'] } }]`,
    ["verify.0.cosign.keys.0"],
  ],
  [
    "identities that nothing vouches for, of any issuer",
    "verify: [{ repositories: ['**'], cosign: { identities: [{ subject: a }] } }]",
    ["verify.0.cosign.trustedRootFile", "verify.0.cosign.identities.0"],
  ],
  [
    "an expression that is none",
    "verify: [{ repositories: ['**'], cosign: { identities: [{ subjectRegExp: '(', issuer: a }] } }]",
    ["verify.0.cosign.identities.0.subjectRegExp"],
  ],
  [
    "a limit without a window",
    "upstreams: { docker.io: { quota: { limit: 5 } } }",
    ["upstreams.docker.io.quota"],
  ],
  [
    "a reserve above low",
    "upstreams: { docker.io: { quota: { reserve: 50% } } }",
    ["upstreams.docker.io.quota.reserve"],
  ],
  ["no upstreams", "upstreams: {}", ["defaultUpstream"]],
  ["a section that was left empty", "upstreams:\n  docker.io:\n", ["upstreams.docker.io"]],
  [
    "a certificate file that is none",
    `upstreams: { docker.io: { ca: ${JSON.stringify(import.meta.filename)} } }`,
    ["upstreams.docker.io.ca"],
  ],
])("%s is refused", (_what, yaml, paths) => {
  expect(issuesOf(yaml).map(({ path }) => path)).toEqual(paths);
});

test("one port on two addresses, and ports chosen by the system, do not clash", () => {
  expect(load("registry: { listen: '127.0.0.1:80' }\nstatus: { listen: '127.0.0.2:80' }")).toBeDefined();
  expect(load("registry: { listen: '127.0.0.1:0' }\nstatus: { listen: '127.0.0.1:0' }")).toBeDefined();
});

test("an upstream on the own premises is allowed when it says so", () => {
  const { upstreams } = load(
    "upstreams: { docker.io: { url: 'http://10.0.0.1:5000/', allowPrivateAddresses: true } }",
  );
  expect(upstreams["docker.io"]).toMatchObject({ url: "http://10.0.0.1:5000", allowPrivateAddresses: true });
});

test("a known host's token realm never sees the credential for another registry in its place", () => {
  const { upstreams } = load("upstreams: { docker.io: { url: 'https://hub.corp.example' } }");
  expect(upstreams["docker.io"]?.tokenRealms).toEqual(["https://hub.corp.example"]);
});

test("an upstream's own reserve overrides the general one", () => {
  const { upstreams } = load(
    "quota: { reserve: 20% }\nupstreams: { docker.io: {}, ghcr.io: { quota: { reserve: 0% } } }",
  );
  expect(upstreams["docker.io"]?.quota.reserve).toBe(0.2);
  expect(upstreams["ghcr.io"]?.quota.reserve).toBe(0);
});

test("the environment goes before the file, and the file before the default", () => {
  const yaml = "freshness: { tagTtl: 1m }\nlog: { level: warn }";
  const config = load(yaml, { HUBCAP_FRESHNESS_TAG_TTL: "2m" });
  expect(config.freshness).toEqual({ tagTtl: 120_000, staleIfError: 30 * 86_400_000 });
  expect(config.log.level).toBe("warn");
});

test("nothing in it can be changed", () => {
  const config = load("");
  const seen = new Set<unknown>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    seen.add(value);
    expect(Object.isFrozen(value)).toBe(true);
    Object.values(value).forEach(visit);
  };
  visit(config);
  expect(seen.size).toBeGreaterThan(10);
});

test("a file that is not YAML is refused with line and column, and without what stands there", () => {
  const error = refusal("storage:\n  root: /data\n\tcapacity: *hunter2\n");
  expect(error.issues[0]?.path).toMatch(/hubcap\.yaml:3:1$/);
  expect(error.issues[0]).toMatchObject({ value: "Tabs are not allowed as indentation", expected: "YAML" });
  for (const yaml of ["log: *hunter2", "log: !hunter2 x", "a: 1\nhunter2: 1\nhunter2: 2", "a: [1,\nhunter2"])
    expect(refusal(yaml).message).not.toContain("hunter2");
});

test("a tag that YAML does not know is refused, not passed over", () => {
  expect(issuesOf("log: { level: !env info }")).toMatchObject([
    { value: "Unresolved tag", expected: "YAML" },
  ]);
});

test("a file that is not there, or no mapping, is refused", () => {
  expect(() => loadFile("/does/not/exist.yaml")).toThrow(
    new ConfigError([{ path: "/does/not/exist.yaml", value: "ENOENT", expected: "a readable YAML file" }]),
  );
  expect(issuesOf("- a\n- b\n")[0]).toMatchObject({ value: "a list", expected: "a mapping of settings" });
});

test("whatever a file says, it is either a configuration or refused with reasons", () => {
  const keys = [
    ...settings.flatMap(({ path }) => path.slice(-1)),
    "docker.io",
    "Docker.io",
    "__proto__",
    "",
    "0",
  ];
  const { written } = fc.letrec((tie) => ({
    written: fc.oneof(
      { depthSize: "medium", withCrossShrink: true },
      fc.constantFrom<unknown>(
        null,
        true,
        0,
        7,
        "",
        "5m",
        "10%",
        "50GiB",
        "docker.io",
        "https://a.example",
        "[]",
      ),
      fc.array(tie("written"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...keys), tie("written"), { maxKeys: 5 }),
    ),
  }));
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...keys), written, { minKeys: 1 }), (tree) => {
      const outcome = outcomeOf(JSON.stringify(tree));
      expect(outcome instanceof ConfigError ? outcome.issues.length : 1).toBeGreaterThan(0);
    }),
    { numRuns: 500 },
  );
});

test("a section that lacks a setting is an issue of that setting, beside all others", () => {
  const issues = issuesOf(`
registry: { tls: { certificateFile: ${fileWith(certificate)} } }
status: { tls: { certificateFile: /nowhere, keyFile: ${fileWith("no key")} } }
log: { level: loud }
`);
  expect(issues.map(({ path }) => path).toSorted()).toEqual([
    "log.level",
    "registry.tls.keyFile",
    "status.tls.certificateFile",
    "status.tls.keyFile",
  ]);
});

test("what is asked of clients' certificates needs an authority of theirs", () => {
  const pem = fileWith(certificate);
  const issues = issuesOf(
    `registry: { tls: { certificateFile: ${pem}, keyFile: ${pem}, clientCertificates: optional } }`,
  );
  expect(issues).toEqual([
    { path: "registry.tls.clientCertificates", value: '"optional"', expected: "clientCaFile beside it" },
  ]);
});

function outcomeOf(yaml: string): unknown {
  try {
    return load(yaml);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
}

test("a setting that was removed is refused with what to use instead", () => {
  const { issues } = refusal("identities: { ownCredentials: [docker.io] }");
  expect(issues).toEqual([
    {
      path: "identities.ownCredentials",
      value: "a list",
      expected: expect.stringMatching(
        /it was removed.*identities\.tokens.*identities\.htpasswdFile/,
      ) as string,
    },
  ]);
});
