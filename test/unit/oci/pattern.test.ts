import { expect, test } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { matches, parsePattern } from "../../../src/oci/pattern.ts";
import { parseRepositoryName, type RepositoryName } from "../../../src/oci/reference.ts";

const digest = digestOf(Buffer.from("an image"));
const other = digestOf(Buffer.from("another"));

function isMatch(pattern: string, host: string, name: string, ...tags: string[]): boolean | undefined {
  const read = parsePattern(pattern);
  const repository = { upstream: host, name: parseRepositoryName(name) as RepositoryName };
  return read && matches(read, { repository, digest, tags });
}

test.each([
  ["docker.io/library/nginx", "docker.io", "library/nginx", []],
  ["docker.io/nginx:1.29", "docker.io", "library/nginx", ["1.29"]],
  ["docker.io/library/*", "docker.io", "library/nginx", []],
  ["docker.io/ngi*:1.*", "docker.io", "library/nginx", ["1.29"]],
  ["docker.io/library/ngi*:1.*", "docker.io", "library/nginx", ["latest", "1.29"]],
  ["docker.io/**", "docker.io", "a/b/c", []],
  ["**/nginx", "ghcr.io", "org/nginx", []],
  ["**", "harbor.example:8443", "a", []],
  ["harbor.example:8443/team/*:v1", "harbor.example:8443", "team/app", ["v1"]],
  [digest, "ghcr.io", "org/app", []],
  [`ghcr.io/org/*@${digest}`, "ghcr.io", "org/app", []],
])("%s names %s/%s with tags %j", (pattern, host, name, tags) => {
  expect(isMatch(pattern, host, name, ...tags)).toBe(true);
});

test.each([
  ["docker.io/library/*", "docker.io", "library/a/b", []],
  ["docker.io/library/nginx", "docker.io", "library/nginx-unprivileged", []],
  ["docker.io/library/nginx:1.29", "docker.io", "library/nginx", ["1.2"]],
  ["docker.io/library/nginx:1.29", "docker.io", "library/nginx", []],
  ["docker.io/*", "docker.io", "org/nginx", []],
  ["docker.io/**", "dockerxio", "library/nginx", []],
  [other, "docker.io", "library/nginx", []],
  [`docker.io/library/nginx@${other}`, "docker.io", "library/nginx", []],
])("%s does not name %s/%s with tags %j", (pattern, host, name, tags) => {
  expect(isMatch(pattern, host, name, ...tags)).toBe(false);
});

test.each([
  "",
  "nginx",
  "library/nginx",
  "docker.io",
  "docker.io/Nginx",
  "docker.io/a:",
  "docker.io/a@sha256:x",
  "a b",
  "docker.io/a:b:c",
  "docker.io/" + "a".repeat(600),
])("%j is no pattern", (text) => {
  expect(parsePattern(text)).toBeUndefined();
});
