/** The OCI distribution-spec's own conformance program, run against Hubcap with the data that a mirror has: read-only. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { parse } from "yaml";
import { withClient, type Client } from "../support/clients.ts";
import { run, sealed } from "../support/clients/process.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildArtifact, buildImage, type Image } from "../support/images.ts";

const repository = "library/conformance";

// The program's own names of its branches and of what each of them covers of the pull and discovery categories.
// Without a filter it crashes as soon as pushing is switched off.
const branches: Readonly<Record<string, readonly string[]>> = {
  ping: ["Ping"],
  empty: ["Referrers", "Tag listing"],
  "missing-manifest": ["Manifest get by digest", "Manifest get by tag"],
  "invalid-digest-format": ["Invalid Manifest Digest", "Manifest get by digest"],
  "read-only": [
    "Blob get",
    "Blob head",
    "Manifest get by digest",
    "Manifest get by tag",
    "Manifest head by digest",
    "Manifest head by tag",
    "Read Only Inputs",
    "Referrers",
    "Tag listing",
  ],
};

let hub: Hub;
let hubcap: Hubcap;
let image: Image;

beforeAll(async () => {
  hub = await startHub();
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
  image = await buildImage();
  hub.push(image, repository, "one");
  hub.push(await buildImage({ seed: "another" }), repository, "two");
  hub.push(
    buildArtifact({ artifactType: "application/vnd.example.signature", subject: image.root }),
    repository,
  );
  return async () => {
    await hubcap.dispose();
    await hub.stop();
  };
});

/** Digests and tags that exist. Only one branch may know them: the others then report nothing and end with 0. */
function readOnlyData(): Record<string, string> {
  return {
    OCI_RO_DATA_TAGS: "one two",
    OCI_RO_DATA_MANIFESTS: [...image.manifests.keys()].join(" "),
    OCI_RO_DATA_BLOBS: [...image.blobs.keys()].join(" "),
    OCI_RO_DATA_REFERRERS: image.root.digest,
  };
}

/** What the program reports of a branch: names, and the status of each. */
async function resultsOf(program: Client, branch: string): Promise<[name: string, status: string][]> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-"));
  try {
    const env = sealed(folder, {
      OCI_REGISTRY: new URL(hubcap.url).host,
      OCI_TLS: "disabled",
      OCI_REPO1: repository,
      // The next version's demand for Docker-Content-Digest fails everywhere: the program loses that header.
      OCI_VERSION: "1.1",
      OCI_API_PUSH: "false",
      OCI_API_TAGS_DELETE: "false",
      OCI_API_MANIFESTS_DELETE: "false",
      OCI_API_BLOBS_DELETE: "false",
      OCI_FILTER_TEST: `OCI Conformance Test/${branch}`,
      OCI_RESULTS_DIR: folder,
      ...(branch === "read-only" ? readOnlyData() : {}),
    });
    await run(program.path, [], env);
    const { apis, data } = parse(await readFile(join(folder, "results.yaml"), "utf8")) as {
      apis: Record<string, string>;
      data: Record<string, string>;
    };
    return Object.entries({ ...apis, ...data });
  } finally {
    await rm(folder, { recursive: true });
  }
}

withClient("conformance", (program) => {
  it.each(Object.entries(branches))("passes %s", async (branch, covered) => {
    const results = await resultsOf(program, branch);
    const ran = results.filter(([, status]) => status !== "Disabled");
    expect(Object.fromEntries(ran)).toEqual(Object.fromEntries(covered.map((name) => [name, "Pass"])));
  });
});
