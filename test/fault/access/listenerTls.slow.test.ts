/** Clients over TLS: who we are is proven, a renewal costs no request, and who clients are is asked where that is wanted. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { ask } from "../../support/ask.ts";
import { makeAuthority, type KeyAndCertificate } from "../../support/certificates.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap, type WrittenConfig } from "../../support/hubcap.ts";
import { buildImage, type Image } from "../../support/images.ts";
import { askRaw } from "../../support/raw.ts";
import { patience } from "../../support/patience.ts";

const authority = makeAuthority();
const clients = makeAuthority();
const { cert: ca } = authority;
const day = 24 * 60 * 60 * 1000;
const names = ["127.0.0.1", "localhost"];

let hub: Hub;
let image: Image;

beforeAll(async () => {
  hub = await startHub({ auth: "none" });
  image = await buildImage({ seed: "over tls", layers: 1, layerBytes: 2_000_000 });
  hub.push(image, "library/app", "1");
});

afterAll(() => hub.stop());

interface Setup {
  readonly hubcap: Hubcap;
  /** Puts a pair where Hubcap looks for it. */
  readonly renew: (pair: KeyAndCertificate) => Promise<void>;
}

async function open(
  clientCertificates?: "required" | "optional",
  changes: WrittenConfig = {},
): Promise<Setup> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-test-tls-"));
  const [certificateFile, keyFile, clientCaFile] = ["tls.crt", "tls.key", "ca.crt"].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  const renew = async ({ cert, key }: KeyAndCertificate): Promise<void> => {
    await Promise.all([writeFile(certificateFile, cert), writeFile(keyFile, key)]);
  };
  await renew(authority.issue({ names }));
  await writeFile(clientCaFile, clients.cert);
  const tls = { certificateFile, keyFile };
  const hubcap = await startHubcap({
    config: {
      registry: {
        tls: clientCertificates ? { ...tls, clientCaFile, clientCertificates } : tls,
      },
      status: { tls },
      upstreams: { "docker.io": upstreamOf(hub) },
      ...changes,
    },
    trust: { ca },
  });
  onTestFinished(async () => {
    await hubcap.dispose();
    await rm(folder, { recursive: true });
  });
  return { hubcap, renew };
}

/** A connection whose handshake is over. */
function handshake(url: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), ca, ...options });
    socket.once("secureConnect", () => resolve(socket)).once("error", reject);
  });
}

async function serialOf(url: string): Promise<string> {
  const socket = await handshake(url);
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

describe("a listener with a certificate", () => {
  test("serves both listeners over TLS, and nothing without", async () => {
    const { hubcap } = await open();
    const { status } = await ask(`${hubcap.url}/v2/library/app/manifests/1`, { ca });
    expect(status).toBe(200);
    expect((await ask(`${hubcap.statusUrl}/readyz`, { ca })).status).toBe(200);
    await expect(ask(`${hubcap.url}/v2/`)).rejects.toThrow(/certificate/);
    await expect(ask(hubcap.url.replace("https", "http"))).rejects.toThrow(/hang up|RESET/);
    const expiry = await hubcap.metric("hubcap_certificate_expiry_seconds", { listener: "registry" });
    expect(Math.abs(expiry - (Date.now() + day) / 1000)).toBeLessThan(120);
  });

  test("speaks TLS 1.2 and 1.3 with ciphers that are still good, and HTTP/1.1 alone", async () => {
    const { hubcap } = await open();
    const good = await handshake(hubcap.url, { maxVersion: "TLSv1.2", ALPNProtocols: ["h2", "http/1.1"] });
    expect([good.getProtocol(), good.alpnProtocol]).toEqual(["TLSv1.2", "http/1.1"]);
    good.destroy();
    const failures = await hubcap.metric("hubcap_tls_failures_total", { listener: "registry" });
    const refused: ConnectionOptions[] = [
      { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0" },
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
      { ALPNProtocols: ["h2"] },
    ];
    for (const options of refused)
      await expect(handshake(hubcap.url, options)).rejects.toThrow(/alert|RESET/);
    expect(await hubcap.metric("hubcap_tls_failures_total", { listener: "registry" })).toBe(
      failures + refused.length,
    );
  });

  test("S27: bytes that are no TLS harm no other client", async () => {
    const { hubcap } = await open();
    const plain = hubcap.url.replace("https", "http");
    await askRaw(plain, "/v2/").catch(() => undefined);
    expect((await ask(`${hubcap.url}/v2/`, { ca })).status).toBe(200);
    expect(hubcap.errors).toBe("");
  });

  test("is renewed under load without a request that fails", async () => {
    const { hubcap, renew } = await open();
    const [layer] = image.platforms.get("linux/amd64")?.layers ?? [];
    const address = `${hubcap.url}/v2/library/app/blobs/${layer?.digest}`;
    const before = await serialOf(hubcap.url);
    // One keeps its connection over the renewal, the others make a new one for each request.
    const kept = new Agent({ keepAlive: true, maxSockets: 1, ca });
    const over = new AbortController();
    let answers = 0;
    const work = async (agent?: Agent): Promise<void> => {
      while (!over.signal.aborted) {
        const reply = await ask(address, { ca, ...(agent && { agent }) });
        expect([reply.status, reply.body.length, reply.broken]).toEqual([200, layer?.size, undefined]);
        answers += 1;
        await wait(5);
      }
    };
    const working = Promise.all([work(kept), work(), work()]);
    for (const _ of [1, 2]) {
      const known = await serialOf(hubcap.url);
      await renew(authority.issue({ names }));
      await Promise.race([
        working,
        vi.waitUntil(async () => (await serialOf(hubcap.url)) !== known, patience),
      ]);
    }
    const soFar = answers;
    await vi.waitUntil(() => answers > soFar + 10, patience);
    over.abort();
    await working;
    kept.destroy();
    expect(await serialOf(hubcap.url)).not.toBe(before);
    expect(hubcap.errors).toBe("");
  });

  test("keeps the old certificate when the new one is bad, and says so", async () => {
    const { hubcap, renew } = await open();
    const before = await serialOf(hubcap.url);
    const good = authority.issue({ names });
    await renew({ cert: good.cert, key: authority.issue({ names }).key });
    const line = await hubcap.logged(({ listener, level }) => listener === "registry" && level === "error");
    expect(line["msg"]).toMatch(
      /tls\.key should hold the private key of .*tls\.crt; the old one stays in use/,
    );
    expect(await hubcap.metric("hubcap_certificate_refused", { listener: "registry" })).toBe(1);
    expect(await serialOf(hubcap.url)).toBe(before);
    await renew(good);
    await hubcap.logged(
      ({ msg, listener }) => listener === "registry" && msg === "a new certificate is in use",
    );
    expect(await hubcap.metric("hubcap_certificate_refused", { listener: "registry" })).toBe(0);
    expect(await serialOf(hubcap.url)).not.toBe(before);
    expect(JSON.stringify(hubcap.logs())).not.toContain("PRIVATE KEY");
  });
});

test("a pair that cannot be served is a mistake in the configuration", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-test-tls-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const [certificateFile, keyFile] = [join(folder, "tls.crt"), join(folder, "tls.key")];
  await writeFile(certificateFile, authority.issue({ names }).cert);
  await writeFile(keyFile, authority.issue({ names }).key);
  const tls = { certificateFile, keyFile };
  await expect(
    startHubcap({ config: { registry: { tls }, status: { tls } }, trust: { ca } }),
  ).rejects.toThrow(
    /ended with 78 [^]*registry\.tls\.keyFile: got ".*tls\.key", expected the private key of [^]*status\.tls\.keyFile: [^]*2 mistakes/,
  );
});

describe("a listener that asks clients for certificates", () => {
  const ours = clients.issue({ names: ["node-1.test"] });
  const strangers = makeAuthority().issue({ names: ["node-1.test"] });
  const old = clients.issue({
    names: ["node-1.test"],
    notBefore: new Date(Date.now() - 2 * day),
    notAfter: new Date(Date.now() - day),
  });

  test("that are required: serves clients that have one, and no others", async () => {
    const { hubcap } = await open("required");
    expect((await ask(`${hubcap.url}/v2/`, { ca, ...ours })).status).toBe(200);
    for (const client of [{}, strangers, old]) {
      await expect(ask(`${hubcap.url}/v2/`, { ca, ...client })).rejects.toThrow(/alert|RESET|EPIPE|hang up/);
    }
    // The other listener does not require one.
    expect((await ask(`${hubcap.statusUrl}/readyz`, { ca })).status).toBe(200);
  });

  test("that are optional: serves everybody", async () => {
    const { hubcap } = await open("optional");
    for (const client of [ours, {}, strangers, old]) {
      expect((await ask(`${hubcap.url}/v2/`, { ca, ...client })).status).toBe(200);
    }
  });

  test("knows by it who a client is, if its authority is one of them", async () => {
    const access = [
      { who: ["certificate:node-*.test"], allow: "pull" },
      { who: ["*"], allow: "deny" },
    ];
    const { hubcap } = await open("optional", { access });
    const other = clients.issue({ names: ["build-1.test", "node-1.elsewhere.test.evil"] });
    const second = clients.issue({ names: ["10.0.0.1", "node-2.test"] });
    const statuses: number[] = [];
    for (const client of [ours, second, other, strangers, old, {}]) {
      statuses.push((await ask(`${hubcap.url}/v2/library/app/manifests/1`, { ca, ...client })).status);
    }
    expect(statuses).toEqual([200, 200, 404, 404, 404, 404]);
    await hubcap.logged(({ identity }) => identity === "certificate:node-1.test");
    await hubcap.logged(({ denied }) => denied === "rule");
  });
});
