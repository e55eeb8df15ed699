/** The settings of those who look on: traces, audit log and alerts. */
import { expect, test } from "vitest";
import { fileWith, issuesOf, load, refusal } from "./configuration.ts";

const canary = "canary-77aa";

test("a webhook has one address, which is never shown", () => {
  const { alerts } = load(`{alerts: [{url: "https://hooks.example/${canary}"}]}`);
  expect(alerts[0]).toMatchObject({ format: "json", minInterval: 300_000 });
  expect(alerts[0]?.on).toContain("quota-exhausted");
  expect(JSON.stringify(alerts)).not.toContain(canary);
  const urlFile = fileWith(`https://hooks.example/${canary}\n`, "url");
  expect(load(JSON.stringify({ alerts: [{ urlFile }] })).alerts[0]?.urlFile?.reveal()).toBe(
    `https://hooks.example/${canary}`,
  );
});

test.each([
  ["none", {}, "alerts.0"],
  ["two", { url: "https://a.example", urlFile: import.meta.filename }, "alerts.0"],
  ["one that is none", { url: `ftp://${canary}` }, "alerts.0.url"],
  ["an unknown event", { url: "https://a.example", on: ["quota-lo"] }, "alerts.0.on.0"],
  ["no event", { url: "https://a.example", on: [] }, "alerts.0.on"],
])("a webhook with %s is refused", (_what, hook, path) => {
  const written = JSON.stringify({ alerts: [hook] });
  expect(issuesOf(written).map((issue) => issue.path)).toEqual([path]);
  expect(refusal(written).message).not.toContain(canary);
});

test("the audit log goes to one place", () => {
  expect(issuesOf("audit: {file: /tmp/audit, stdout: true}").map(({ path }) => path)).toEqual([
    "audit.stdout",
  ]);
  expect(load("audit: {file: audit.jsonl}").audit.file).toBe(`${process.cwd()}/audit.jsonl`);
});

test.each([
  ["access", { access: [{ who: ["*"], allow: "pull" }] }],
  ["rules", { policy: { rules: [{ match: ["docker.io/*"], pull: "deny" }] } }],
  ["immutable tags", { policy: { immutableTags: ["docker.io/library/*:*"] } }],
  ["verify", { verify: [{ repositories: ["docker.io/library/*"] }] }],
  ["tracing", { tracing: { endpoint: "http://collector.example:4318" } }],
])("more processes than one are refused beside %s, of which only one can decide", (_what, section) => {
  expect(issuesOf(JSON.stringify({ workers: 2, ...section })).map(({ path }) => path)).toEqual(["workers"]);
  expect(load(JSON.stringify(section)).workers).toBe(1);
});

test("headers for the collector are lines of a file, and secret", () => {
  const headersFile = fileWith(`Authorization: Bearer ${canary}\r\nX-Scope:hubcap\n\n`, "headers");
  const endpoint = "http://collector.example:4318";
  const { tracing } = load(JSON.stringify({ tracing: { endpoint, headersFile, sampleRatio: "10%" } }));
  expect(tracing).toMatchObject({ endpoint: `${endpoint}/`, sampleRatio: 0.1 });
  expect(Object.entries(tracing.headersFile ?? {}).map(([name, value]) => [name, value.reveal()])).toEqual([
    ["Authorization", `Bearer ${canary}`],
    ["X-Scope", "hubcap"],
  ]);
  expect(JSON.stringify(tracing)).not.toContain(canary);
  const wrong = JSON.stringify({ tracing: { headersFile: fileWith(canary, "headers") } });
  expect(issuesOf(wrong).map(({ path }) => path)).toEqual(["tracing.headersFile"]);
  expect(refusal(wrong).message).not.toContain(canary);
});

test.each(["collector:4318", "http://user:pw@collector.example", "http://collector.example/?key=1"])(
  "%s is no collector's address",
  (endpoint) => {
    expect(issuesOf(JSON.stringify({ tracing: { endpoint } })).map(({ path }) => path)).toEqual([
      "tracing.endpoint",
    ]);
  },
);
