import { expect, test } from "vitest";
import { knownRegistry } from "../../../src/upstream/presets.ts";

test.each([
  ["docker.io", "https://registry-1.docker.io", ["https://auth.docker.io"]],
  ["registry.gitlab.com", "https://registry.gitlab.com", ["https://gitlab.com"]],
  ["registry.k8s.io", "https://registry.k8s.io", []],
  [
    "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com",
    [],
  ],
  ["acme.azurecr.io", "https://acme.azurecr.io", ["https://acme.azurecr.io"]],
  ["europe-docker.pkg.dev", "https://europe-docker.pkg.dev", ["https://europe-docker.pkg.dev"]],
])("%s is known", (host, url, tokenRealms) => {
  expect(knownRegistry(host)).toEqual({ url, tokenRealms });
});

test.each([
  "harbor.example",
  "evil.azurecr.io.example",
  "docker.io.evil.test",
  "constructor",
  "__proto__",
  "x.pkg.dev",
])("%s is not", (host) => {
  expect(knownRegistry(host)).toBeUndefined();
});
