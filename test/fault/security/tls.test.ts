/** Upstreams over TLS: who they are has to be proven, and they do not lead out of it or into private networks. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { makeAuthority, type LeafOptions } from "../../support/certificates.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage, type Image } from "../../support/images.ts";

const authority = makeAuthority();
const day = 24 * 60 * 60 * 1000;

let folder: string;
let ca: string;
let image: Image;
let good: Hub;
let plain: Hub;
let hubcap: Hubcap;
const wrong = new Map<string, Hub>();

async function startTlsHub(certificate: LeafOptions): Promise<Hub> {
  const hub = await startHub({ tls: authority.issue(certificate), host: "localhost", limit: "unlimited" });
  hub.push(image, "library/app", "1");
  return hub;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-test-ca-"));
  ca = join(folder, "ca.pem");
  await writeFile(ca, authority.cert);
  image = await buildImage();
  good = await startTlsHub({ names: ["localhost"] });
  plain = await startHub();
  const [past, longPast] = [new Date(Date.now() - day), new Date(Date.now() - 2 * day)];
  wrong.set("expired.test", await startTlsHub({ names: ["localhost"], notBefore: longPast, notAfter: past }));
  wrong.set(
    "future.test",
    await startTlsHub({ names: ["localhost"], notBefore: new Date(Date.now() + day / 2) }),
  );
  wrong.set("other-host.test", await startTlsHub({ names: ["registry-1.docker.io"] }));
  wrong.set("stranger.test", good);
  const trusting = { ca };
  hubcap = await startHubcap({
    // Node's own way to switch the proof off for everything.
    env: { NODE_TLS_REJECT_UNAUTHORIZED: "0", NODE_NO_WARNINGS: "1" },
    config: {
      defaultUpstream: "good.test",
      upstreams: {
        "good.test": upstreamOf(good, trusting),
        // Another upstream trusts the authority, this one does not.
        "stranger.test": upstreamOf(good),
        "public.test": upstreamOf(good, { ca, allowPrivateAddresses: false }),
        "downgraded.test": upstreamOf(good, {
          ca,
          tokenRealms: [plain.tokenService.url],
          credential: { username: "cluster", password: "s3cret" },
        }),
        ...Object.fromEntries(
          [...wrong]
            .filter(([, hub]) => hub !== good)
            .map(([name, hub]) => [name, upstreamOf(hub, trusting)]),
        ),
      },
    },
  });
});

afterAll(async () => {
  await hubcap.dispose();
  await Promise.all([good, plain, ...wrong.values()].map((hub) => hub.stop()));
  await rm(folder, { recursive: true });
});

afterEach(() => {
  good.faults.clear();
  for (const hub of [good, plain, ...wrong.values()]) hub.counts.reset();
});

function askTag(upstream: string, repository = "library/app"): Promise<Reply> {
  return ask(`${hubcap.url}/v2/${upstream}/${repository}/manifests/1`);
}

test("S38: a certificate of the configured authority is taken, for registry, token service and CDN", async () => {
  expect((await askTag("good.test")).status).toBe(200);
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  const blob = await ask(`${hubcap.url}/v2/good.test/library/app/blobs/${layer?.digest}`);
  expect([blob.status, blob.body.length]).toEqual([200, layer?.size]);
});

test.each(["expired.test", "future.test", "other-host.test", "stranger.test"])(
  "S38: the certificate of %s is not believed, not even when Node is set to believe all",
  async (name) => {
    const reply = await askTag(name);
    expect([reply.status, reply.body.toString()]).toEqual([502, expect.stringContaining("certificate")]);
    expect(wrong.get(name)?.counts.requests).toEqual([]);
  },
);

describe("a CDN whose certificate is not believed", () => {
  test("S38: is not asked for a blob", async () => {
    const liar = wrong.get("other-host.test");
    const layer = image.platforms.get("linux/arm64")?.layers[0];
    const location = `${liar?.cdn.url}/x`;
    good.fault({ asks: "blob", origin: "registry", kind: "status", status: 307, headers: { location } });
    const blob = await ask(`${hubcap.url}/v2/good.test/library/app/blobs/${layer?.digest}`);
    expect([blob.status, blob.body.toString()]).toEqual([502, expect.stringContaining("certificate")]);
    expect(liar?.counts.requests).toEqual([]);
  });
});

test("S6: https never leads to http", async () => {
  plain.push(image, "library/app", "1");
  const layer = image.platforms.get("linux/arm64")?.layers[1];
  const location = `${plain.url}/v2/library/app/blobs/${layer?.digest}`;
  good.fault({ asks: "blob", origin: "registry", kind: "status", status: 307, headers: { location } });
  const blob = await ask(`${hubcap.url}/v2/good.test/library/app/blobs/${layer?.digest}`);
  expect([blob.status, blob.body.toString()]).toEqual([502, expect.stringContaining("from https to http")]);
  expect(plain.counts.requests).toEqual([]);
});

test("S6: a name that resolves to a private address is not dialled unless that is allowed", async () => {
  const reply = await askTag("public.test");
  expect([reply.status, reply.body.toString()]).toEqual([502, expect.stringContaining("private address")]);
  expect(good.counts.requests).toEqual([]);
});

test("S2: a registry on https gets its tokens over https, even where the realm without is allowed", async () => {
  const realm = good.behaviour.realm;
  good.behaviour.realm = `${plain.tokenService.url}/token`;
  const reply = await askTag("downgraded.test");
  good.behaviour.realm = realm;
  expect([reply.status, reply.body.toString()]).toEqual([502, expect.stringContaining("tokenRealms")]);
  expect(plain.counts.requests).toEqual([]);
});
