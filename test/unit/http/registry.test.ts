/** Targets that are remembered by their URL: what a URL means does not depend on who asked for it before. */
import { expect, it } from "vitest";
import { targetReader } from "../../../src/http/registry.ts";

const routing = { upstreams: new Set(["docker.io", "ghcr.io"]), defaultUpstream: "docker.io" };
const url = "/v2/library/app/manifests/1";

it("gives for a URL that it knows what it gave before, whether for GET or for HEAD", () => {
  const read = targetReader(routing);
  const first = read("GET", url);
  expect(first).toEqual({
    kind: "manifest",
    repository: { upstream: "docker.io", name: "library/app" },
    reference: "1",
  });
  expect(read("HEAD", url)).toBe(first);
});

it("distinguishes URLs by their query", () => {
  const read = targetReader(routing);
  expect(read("GET", `${url}?ns=ghcr.io`)).toMatchObject({ repository: { upstream: "ghcr.io" } });
  expect(read("GET", url)).toMatchObject({ repository: { upstream: "docker.io" } });
});

it("refuses every other method, though it knows the URL", () => {
  const read = targetReader(routing);
  read("GET", url);
  for (const method of ["PUT", "POST", "DELETE", "PATCH"]) {
    expect(() => read(method, url)).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
  }
});

it("refuses what is no target each time that it is asked for", () => {
  const read = targetReader(routing);
  const nameless = (): unknown => read("GET", "/v2/App/manifests/1");
  expect(nameless).toThrow(expect.objectContaining({ code: "NAME_INVALID" }));
  expect(nameless).toThrow(expect.objectContaining({ code: "NAME_INVALID" }));
});
