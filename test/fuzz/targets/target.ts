/** Requests, as they come over the wire. */
import { RegistryError } from "../../../src/oci/error.ts";
import { parseDigest } from "../../../src/oci/digest.ts";
import { parseRepositoryName, parseTag } from "../../../src/oci/reference.ts";
import { parseTarget } from "../../../src/oci/target.ts";
import { must, parts, refusing, type FuzzTarget } from "../fuzzTarget.ts";

const routing = { upstreams: new Set(["docker.io", "ghcr.io"]), defaultUpstream: "docker.io" };
const digest = `sha256:${"0123456789abcdef".repeat(4)}`;

export const target: FuzzTarget = {
  seeds: [
    "GET\n/v2/",
    "HEAD\n/v2/library/nginx/manifests/1.29?ns=docker.io",
    `GET\n/v2/ghcr.io/org/app/blobs/${digest}`,
    "GET\n/v2/library/nginx/tags/list?n=100&last=1.28",
    `GET\n/v2/library/nginx/referrers/${digest}?artifactType=application%2Fspdx%2Bjson`,
    "GET\n/v2/a/%2e%2e%2fb/manifests/latest",
    "POST\n/v2/library/nginx/blobs/uploads/",
    "GET\n/v2/_catalog?n=2147483647",
  ],
  run(data) {
    const [method = "", url = ""] = parts(data, 2);
    const asked = refusing(RegistryError, () => parseTarget(method, url, routing));
    if (!asked || !("repository" in asked)) return;
    const { upstream, name } = asked.repository;
    must(routing.upstreams.has(upstream), "an upstream is a configured one");
    must(parseRepositoryName(name) === name, "a name that was accepted is one");
    if (asked.kind === "blob") must(parseDigest(asked.digest) === asked.digest, "a digest is one");
    if (asked.kind === "manifest") {
      const { reference } = asked;
      must((parseTag(reference) ?? parseDigest(reference)) === reference, "a reference is a tag or a digest");
    }
  },
};
