/** Images that have to be signed: what is served, what is refused and why, what it costs, and that nothing gets around it. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { digestOf } from "../../src/oci/digest.ts";
import { ask, errorOf, type AskOptions } from "../support/ask.ts";
import { makeAuthority } from "../support/certificates.ts";
import { bytesContent } from "../support/content.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import {
  buildArtifact,
  buildImage,
  type Bundle,
  type ContentDescriptor,
  type Image,
} from "../support/images.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { bundleType, Signer, signatureTag, TestLog, trustedRoot } from "../support/signer.ts";

const repository = "team/app";
const signer = Signer.withKey();
const stranger = Signer.withKey();

let folder: string;
let hub: Hub;
let hubcap: Hubcap | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-signatures-"));
  await writeFile(join(folder, "cosign.pub"), signer.publicKey);
  await writeFile(join(folder, "other.pub"), stranger.publicKey);
});
afterAll(() => rm(folder, { recursive: true }));
beforeEach(async () => {
  hub = await startHub();
});
afterEach(async () => {
  await hubcap?.dispose();
  hubcap = undefined;
  await hub.stop();
});

function configOf(cosign: object = { keys: [join(folder, "cosign.pub")] }) {
  return {
    upstreams: { "docker.io": upstreamOf(hub) },
    verify: [{ repositories: ["docker.io/team/**"], cosign }],
  };
}

async function open(cosign?: object): Promise<Hubcap> {
  hubcap = await startHubcap({ config: configOf(cosign), inProcess: true });
  return hubcap;
}

async function push(seed: string, to = repository): Promise<Image> {
  const image = await buildImage({ seed });
  hub.push(image, to, seed);
  return image;
}

const ways = {
  "the tag scheme": (by: Signer, image: ContentDescriptor, flaws = {}) =>
    hub.push(by.byTag(image.digest, flaws), repository, signatureTag(image.digest)),
  "a bundle": (by: Signer, image: ContentDescriptor, flaws = {}) =>
    hub.push(by.byBundle(image, flaws), repository),
} as const;
const wayNames = Object.keys(ways) as (keyof typeof ways)[];

async function get(path: string, options: AskOptions = {}) {
  const reply = await ask(`${hubcap?.url}/v2/${repository}/${path}`, options);
  return { status: reply.status, ...errorOf(reply), retryAfter: reply.headers["retry-after"] };
}

function pull(reference: string) {
  return pullLikeContainerd({ mirror: hubcap?.url ?? "", ns: "docker.io", repository, reference });
}

const child = (image: Image): ContentDescriptor => {
  const { manifest } = image.platforms.get("linux/amd64") ?? {};
  if (!manifest) throw new Error("no linux/amd64");
  return manifest;
};
const layer = (image: Image): string => image.platforms.get("linux/amd64")?.layers[0]?.digest ?? "";

describe.each(wayNames)("an image signed by %s", (name) => {
  const put = ways[name];

  it("is served with all that its index names, and proven once", async () => {
    const image = await push("1");
    put(signer, image.root);
    const setup = await open();
    const { errors, manifest } = await pull("1");
    expect({ errors, manifest }).toEqual({ errors: [], manifest: child(image).digest });
    await setup.restart();
    hub.counts.reset();
    expect((await pull("1")).errors).toEqual([]);
    expect(hub.counts.requests.filter(({ kind }) => kind !== "token" && kind !== "ping")).toEqual([]);
  });

  it("is refused with what is wrong with its signature", async () => {
    const [good, strange, copied, tampered] = await Promise.all(
      ["good", "strange", "copied", "tampered"].map((seed) => push(seed)),
    );
    if (!good || !strange || !copied || !tampered) throw new Error("not pushed");
    put(signer, good.root);
    put(stranger, strange.root);
    put(signer, copied.root, { of: good.root.digest });
    put(signer, tampered.root, { of: good.root.digest, tampered: true });
    const setup = await open();
    expect((await get("manifests/good")).status).toBe(200);
    for (const [tag, why] of [
      ["strange", /made with another key/],
      ["copied", new RegExp(`of another image \\(${good.root.digest}\\)`)],
      ["tampered", /was changed/],
    ] as const) {
      const answer = await get(`manifests/${tag}`);
      expect(answer).toMatchObject({ status: 403, code: "DENIED" });
      expect(answer.message).toMatch(why);
      expect(answer.message).toMatch(/^verify\.0 refuses docker\.io\/team\/app@sha256:/);
    }
    expect(await setup.metric("hubcap_policy_refused_total", { reason: "signature" })).toBe(3);
  });

  it("is refused by digest, as a child, as blobs and in ranges when it is not", async () => {
    const image = await push("1");
    put(stranger, image.root);
    const setup = await open();
    expect((await get("manifests/1")).status).toBe(403);
    expect((await get(`manifests/${image.root.digest}`)).status).toBe(403);
    expect((await get("manifests/1", { method: "HEAD" })).status).toBe(403);
    expect((await get(`manifests/${child(image).digest}`)).status).toBe(403);
    for (const digest of [layer(image), child(image).digest, image.root.digest]) {
      expect((await get(`blobs/${digest}`)).status).toBe(403);
      expect((await get(`blobs/${digest}`, { headers: { range: "bytes=0-3" } })).status).toBe(403);
      expect((await get(`blobs/${digest}`, { method: "HEAD" })).status).toBe(403);
    }
    const answer = await setup.status("/api/v1/explain?image=docker.io/team/app:1");
    expect(answer).toMatchObject({ wouldAnswer: "refused", why: expect.stringContaining("another key") });
  });

  it("is served as one platform alone when that is signed itself", async () => {
    const image = await push("1");
    put(signer, child(image));
    await open();
    expect((await get(`manifests/${child(image).digest}`)).status).toBe(200);
    expect((await get(`blobs/${layer(image)}`)).status).toBe(200);
    expect((await get("manifests/1")).status).toBe(403);
  });

  it("is judged anew when other signatures count", async () => {
    const image = await push("1");
    put(signer, image.root);
    const setup = await open();
    expect((await pull("1")).errors).toEqual([]);
    await setup.restart(configOf({ keys: [join(folder, "other.pub")] }));
    expect((await get("manifests/1")).status).toBe(403);
    expect((await get(`blobs/${layer(image)}`)).status).toBe(403);
    await setup.restart(configOf());
    expect((await get("manifests/1")).status).toBe(200);
  });

  it("by somebody whom the trusted root vouches for is served to whom that counts", async () => {
    const [log, authority] = [new TestLog(), makeAuthority()];
    await writeFile(join(folder, "root.json"), trustedRoot([authority], [log]));
    const whom = { subject: "release@example.test", issuer: "https://accounts.example.test" };
    const image = await push("1");
    put(Signer.withCertificate(authority, whom, log), image.root);
    const trusted = { trustedRootFile: join(folder, "root.json") };
    const setup = await open({ ...trusted, identities: [{ ...whom, issuer: "https://other.test" }] });
    expect((await get("manifests/1")).message).toMatch(/issuer https:\/\/accounts\.example\.test/);
    await setup.restart(configOf({ ...trusted, identities: [{ ...whom, subject: "admin@example.test" }] }));
    expect((await get("manifests/1")).message).toMatch(/made by release@example\.test/);
    await setup.restart(configOf({ ...trusted, identities: [whom] }));
    expect((await pull("1")).errors).toEqual([]);
  });
});

describe("an image that is not signed", () => {
  it("is refused, and for a minute at no further cost", async () => {
    await push("1");
    await open();
    const answer = await get("manifests/1");
    expect(answer).toMatchObject({ status: 403, code: "DENIED" });
    expect(answer.message).toMatch(/it is not signed: sign it with cosign/);
    expect(Number(answer.retryAfter)).toBeLessThanOrEqual(60);
    expect(hub.counts.charged.total).toBe(1);
    hub.counts.reset();
    for (let time = 0; time < 5; time += 1) expect((await get("manifests/1")).status).toBe(403);
    expect(hub.counts.requests.filter(({ kind }) => kind === "referrers")).toEqual([]);
    expect(hub.counts.charged.total).toBe(0);
  });

  it("is served outside of the repositories that ask for signatures", async () => {
    await push("1", "library/app");
    await open();
    const { status } = await ask(`${hubcap?.url}/v2/library/app/manifests/1`);
    expect(status).toBe(200);
  });

  it("is not vouched for by what only looks like a signature and names it", async () => {
    const image = await push("1");
    const manifest = child(image);
    // A client that may push can list an image as a layer of a manifest that needs no signature.
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: manifest.mediaType,
        config: {
          mediaType: "application/vnd.oci.empty.v1+json",
          digest: manifest.digest,
          size: manifest.size,
        },
        layers: [{ mediaType: bundleType, digest: manifest.digest, size: manifest.size }],
      }),
    );
    const root = { mediaType: manifest.mediaType, digest: digestOf(bytes), size: bytes.length };
    const trick: Bundle = {
      root,
      manifests: new Map([[root.digest, { mediaType: root.mediaType, bytes }]]),
      // The document that it is, as a blob.
      blobs: new Map([
        [manifest.digest, bytesContent(image.manifests.get(manifest.digest)?.bytes ?? Buffer.alloc(0))],
      ]),
    };
    hub.push(trick, repository, "trick");
    await open();
    expect((await get("manifests/trick")).status).toBe(200);
    expect((await get(`manifests/${manifest.digest}`)).status).toBe(403);
    expect((await get(`blobs/${layer(image)}`)).status).toBe(403);
  });
});

it("is proven and served, and others are refused, while the disk is full (R21)", async () => {
  const image = await push("1");
  const other = await push("2");
  ways["a bundle"](signer, image.root);
  hubcap = await startHubcap({ config: { ...configOf(), storage: { minFree: "1000TiB" } } });
  expect((await pull("1")).errors).toEqual([]);
  expect(await hubcap.metric("hubcap_bypass_total")).toBeGreaterThan(0);
  expect((await get(`manifests/${child(other).digest}`)).status).toBe(403);
  expect((await get(`blobs/${layer(other)}`)).status).toBe(403);
});

describe("signatures that cannot be had", () => {
  it.each([
    ["limited", { kind: "status", status: 429, headers: { "retry-after": "7" } }, 429],
    ["broken", { kind: "status", status: 500 }, 503],
    ["unreachable", { kind: "reset" }, 503],
  ] as const)("because the upstream is %s open nothing (S37)", async (_name, fault, status) => {
    const image = await push("1");
    ways["a bundle"](signer, image.root);
    await open();
    hub.fault({ ...fault, asks: "referrers" });
    expect((await get(`manifests/${image.root.digest}`)).status).toBe(status);
    expect((await get(`blobs/${layer(image)}`)).status).not.toBe(200);
  });

  it("do not matter for what was proven before", async () => {
    const image = await push("1");
    ways["a bundle"](signer, image.root);
    const setup = await open();
    expect((await pull("1")).errors).toEqual([]);
    await hub.registry.down();
    await setup.restart();
    expect((await pull(image.root.digest)).errors).toEqual([]);
  });
});

describe("signatures without end", () => {
  it("are looked at up to a number, however many an upstream lists", async () => {
    const image = await push("1");
    for (let number = 0; number < 200; number += 1) {
      const payload = `no signature ${number}`;
      hub.push(buildArtifact({ artifactType: bundleType, subject: image.root, payload }), repository);
    }
    await open();
    expect((await get("manifests/1")).status).toBe(403);
    expect(hub.counts.charged.total).toBeLessThan(12);
  });

  it("are not read when they are too large", async () => {
    const image = await push("1");
    const huge = buildArtifact({
      artifactType: bundleType,
      subject: image.root,
      payload: Buffer.alloc(2_000_000),
    });
    // As a bundle by its type, too.
    const { bytes } = huge.manifests.get(huge.root.digest) ?? { bytes: Buffer.alloc(0) };
    const text = bytes.toString().replace("application/octet-stream", bundleType);
    const root = { ...huge.root, digest: digestOf(Buffer.from(text)), size: text.length };
    const manifests = new Map([[root.digest, { mediaType: root.mediaType, bytes: Buffer.from(text) }]]);
    hub.push({ root, manifests, blobs: huge.blobs }, repository);
    await open();
    expect((await get("manifests/1")).message).toMatch(/it is not signed/);
    expect(hub.counts.cdnGets.total).toBe(0);
  });
});

it("says in one line what is wrong with a key or a trusted root, and does not start", async () => {
  await writeFile(join(folder, "bad.pub"), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n");
  await expect(startHubcap({ config: configOf({ keys: [join(folder, "bad.pub")] }) })).rejects.toThrow(
    /ended with 78[^]*verify\.0\.cosign: got a key cannot be read/,
  );
});

it("an image that has to be signed takes a pull more, and none is begun of which that cannot be paid", async () => {
  hub.setLimit(5);
  await open();
  const [first, second] = [await push("first"), await push("second")];
  for (const image of [first, second]) ways["the tag scheme"](signer, image.root);
  expect((await pull("first")).errors).toEqual([]);
  expect(hub.counts.charged.total).toBe(3);
  expect(await get(`manifests/${second.root.digest}`)).toMatchObject({
    status: 429,
    message: expect.stringContaining("has 2 pulls left of 5 in 6 h; this image takes 3"),
  });
  expect(hub.counts.charged.total).toBe(3);
});
