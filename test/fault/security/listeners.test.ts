/** Ways around access rules and policy: what a client would try that may not pull. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { ask } from "../../support/ask.ts";
import { makeAuthority } from "../../support/certificates.ts";
import { htmlFault, type Fault } from "../../support/faults.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type WrittenConfig } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import {
  basic,
  bearer,
  openAccessSetup,
  secrets,
  type AccessSetup,
  type Headers,
} from "../../support/accessSetup.ts";
import { patience } from "../../support/patience.ts";

async function open(changes?: WrittenConfig): Promise<AccessSetup> {
  const setup = await openAccessSetup(changes);
  onTestFinished(() => setup.close());
  return setup;
}

async function openHub(): Promise<Hub> {
  const hub = await startHub();
  onTestFinished(() => hub.stop());
  return hub;
}

const ci = bearer(secrets.ci);

async function statusOf({ hubcap }: AccessSetup, path: string, headers: Headers = {}): Promise<number> {
  return (await ask(`${hubcap.url}/v2/${path}`, { headers })).status;
}

/** A registry that hides a repository as one that has nothing. */
const list = (body: string): Fault[] => [
  { kind: "status", status: 404, asks: "manifest" },
  { kind: "status", status: 404, asks: "blob" },
  { kind: "status", status: 200, headers: { "content-type": "application/json" }, body, asks: "tags" },
];

describe("an upstream that does not say no to strangers as a registry does", () => {
  test.each([
    ["a page to log in at", [htmlFault]],
    ["an empty list", list('{"tags":[]}')],
    ["Go's empty list", list('{"tags":null}')],
    ["a list of nothing", list("{}")],
  ] satisfies [string, Fault[]][])("keeps private what it hides behind %s", async (_, faults) => {
    const setup = await open();
    const [layer] = setup.image.platforms.get("linux/amd64")?.layers ?? [];
    const { digest } = setup.image.root;
    // What the account had fetched is held.
    for (const path of ["manifests/1", `blobs/${layer?.digest}`, "tags/list"])
      expect(await statusOf(setup, `private/own/${path}`, ci)).toBe(200);
    for (const path of [
      "manifests/1",
      `manifests/${digest}`,
      "manifests/2",
      `blobs/${layer?.digest}`,
      "tags/list",
    ]) {
      // Nothing that was found out is remembered.
      await setup.hubcap.restart();
      setup.hub.faults.clear();
      for (const fault of faults) setup.hub.fault({ ...fault, repository: "private/own" });
      const status = await statusOf(setup, `private/own/${path}`);
      expect([path, status]).toEqual([path, [401, 502].includes(status) ? status : "401 or 502"]);
    }
    expect(await statusOf(setup, "public/app/manifests/1")).toBe(200);
  });
});

test.each([
  ["a page to log in at", htmlFault],
  ["something of another size", { kind: "status", status: 200, headers: { "content-length": "12" } }],
] satisfies [string, Fault][])(
  "another repository's blob is not opened by %s in place of an answer (S11)",
  async (_, fault) => {
    const hub = await openHub();
    const image = await buildImage({ seed: "elsewhere", layers: 1 });
    hub.push(image, "team/one", "1");
    hub.push(await buildImage({ seed: "other" }), "team/two", "1");
    const hubcap = await startHubcap({
      config: { upstreams: { "docker.io": upstreamOf(hub) } },
      inProcess: true,
    });
    onTestFinished(() => hubcap.dispose());
    const [layer] = image.platforms.get("linux/amd64")?.layers ?? [];
    const get = async (name: string): Promise<number> =>
      (await ask(`${hubcap.url}/v2/${name}/blobs/${layer?.digest}`)).status;
    expect(await get("team/one")).toBe(200);
    hub.fault({ ...fault, repository: "team/two", method: "HEAD" });
    expect(await get("team/two")).toBe(502);
  },
);

test("what an account brought in stays private when the account is taken away", async () => {
  const setup = await open();
  const [layer] = setup.image.platforms.get("linux/amd64")?.layers ?? [];
  const paths = ["manifests/1", `manifests/${setup.image.root.digest}`, `blobs/${layer?.digest}`];
  const all = async (name: string, headers: Headers = {}): Promise<number[]> => {
    const statuses: number[] = [];
    for (const path of paths) statuses.push(await statusOf(setup, `${name}/${path}`, headers));
    return statuses;
  };
  expect(await all("private/own", ci)).toEqual([200, 200, 200]);
  await setup.restart({ upstreams: { "docker.io": upstreamOf(setup.hub) } });
  expect(await all("private/own", bearer(secrets.other))).toEqual([404, 404, 404]);
  expect(await all("private/own", ci)).toEqual([200, 200, 200]);
  expect(await all("public/app")).toEqual([200, 200, 200]);
  const { body } = await ask(`${setup.hubcap.statusUrl}/api/v1/cache/images`);
  expect(body.toString()).not.toContain("private/own");
  // Published, it is found out to be public as any other.
  setup.hub.shelf.restrict("private/own", undefined);
  await setup.hubcap.restart();
  expect(await all("private/own")).toEqual([200, 200, 200]);
});

describe("the address of a client", () => {
  test("that a proxy gives unreadably counts as none, and not as the proxy's own", async () => {
    const setup = await open({
      access: [{ who: ["network:127.0.0.0/8"], allow: "pull" }],
      identities: { trustedProxies: ["127.0.0.0/8"] },
    });
    const statuses: number[] = [];
    for (const word of ["203.0.113.9:4711", "unknown", "203.0.113.9, _hidden", "[2001:db8::1]:443"])
      statuses.push(await statusOf(setup, "private/app/manifests/1", { "x-forwarded-for": word }));
    expect(statuses).toEqual([404, 404, 404, 404]);
    // A request without the header is the proxy's own, such as a probe.
    expect(await statusOf(setup, "private/app/manifests/1")).toBe(200);
  });
});

test("passwords at the upstream are counted by address, whatever name of a node a client gives itself", async () => {
  const setup = await open();
  for (let n = 0; n < 12; n += 1) {
    const headers = { ...basic("victim", `guess ${n}`), "x-hubcap-node": `node-${n}` };
    expect(await statusOf(setup, "private/app/manifests/1", headers)).toBe(401);
  }
  const tried = setup.hub.counts.requests.filter(
    ({ origin, account }) => origin === "token" && account === "victim",
  );
  expect(tried.length).toBeLessThanOrEqual(3);
});

test("a rule for all upstreams knows Docker Hub's short names, too", async () => {
  const setup = await open({ access: [{ who: ["*"], repositories: ["app", "red*"], allow: "deny" }] });
  for (const name of ["app", "redis"]) setup.hub.push(setup.image, `library/${name}`, "1");
  setup.hub.push(setup.image, "library/other", "1");
  const statuses: number[] = [];
  for (const name of ["app", "library/app", "docker.io/redis", "library/redis", "library/other"])
    statuses.push(await statusOf(setup, `${name}/manifests/1`));
  expect(statuses).toEqual([401, 401, 401, 401, 200]);
});

test("pins name private images to the operator alone", async () => {
  const pins = [
    "docker.io/private/app:1",
    "docker.io/private/*",
    "docker.io/public/app:1",
    "ghcr.io/org/app",
  ];
  const setup = await open({ storage: { pins } });
  expect(await statusOf(setup, "public/app/manifests/1")).toBe(200);
  expect(await statusOf(setup, "private/app/manifests/1", ci)).toBe(200);
  const read = async (headers: Headers): Promise<string[]> => {
    const { body } = await ask(`${setup.hubcap.statusUrl}/api/v1/cache/pins`, { headers });
    return (JSON.parse(body.toString()) as { pins: { image: string }[] }).pins.map(({ image }) => image);
  };
  expect(await read(bearer(secrets.admin))).toEqual(pins);
  const shown = await read({});
  expect(shown).toContain("docker.io/public/app:1");
  expect(shown.join()).not.toContain("docker.io/private");
});

describe("rules of what may be pulled", () => {
  test("let no blob through because the manifest that names it cannot be read any more", async () => {
    const hub = await openHub();
    const image = await buildImage({ seed: "unreadable", layerBytes: 40_000 });
    hub.push(image, "team/app", "1");
    const config = { upstreams: { "docker.io": upstreamOf(hub) } };
    const hubcap = await startHubcap({ config, inProcess: true });
    onTestFinished(() => hubcap.dispose());
    const { manifest, layers } = image.platforms.get("linux/amd64") ?? {};
    const get = async (path: string, options = {}): Promise<number> =>
      (await ask(`${hubcap.url}/v2/team/app/${path}`, options)).status;
    const blob = `blobs/${layers?.[0]?.digest}`;
    expect(await get(`manifests/${manifest?.digest}`)).toBe(200);
    expect(await get(blob)).toBe(200);
    await hubcap.stop();
    const hex = manifest?.digest.slice("sha256:".length) ?? "";
    await rm(join(hubcap.root, "blobs", "sha256", hex.slice(0, 2), hex));
    await hubcap.start({ ...config, policy: { rules: [{ match: ["**"], maxSize: "20kB" }] } });
    expect(await get(blob)).toBe(403);
    expect(await get(blob, { headers: { range: "bytes=0-9" } })).toBe(403);
  });

  test("take no image for an attestation because its layers say that they are one", async () => {
    const hub = await openHub();
    const image = await buildImage({ seed: "disguised", platforms: ["linux/amd64"] });
    const { manifest, layers, config } = image.platforms.get("linux/amd64") ?? {};
    const type = "application/vnd.in-toto+json";
    // podman and CRI-O unpack and run it.
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: manifest?.mediaType,
        config,
        layers: layers?.map((layer) => ({ ...layer, mediaType: type })),
      }),
    );
    const digest = digestOf(bytes);
    const mediaType = manifest?.mediaType ?? "";
    const root = { mediaType, digest, size: bytes.length };
    hub.push({ ...image, root, manifests: new Map([[digest, { mediaType, bytes }]]) }, "team/app", "1");
    const rules = [{ match: ["**"], maxSize: "1B", minAge: "1000d" }];
    const hubcap = await startHubcap({
      config: { upstreams: { "docker.io": upstreamOf(hub) }, policy: { rules } },
      inProcess: true,
    });
    onTestFinished(() => hubcap.dispose());
    for (const path of ["manifests/1", `manifests/${digest}`, `blobs/${layers?.[0]?.digest}`])
      expect([path, (await ask(`${hubcap.url}/v2/team/app/${path}`)).status]).toEqual([path, 403]);
  });

  test.each([
    [
      "policy.rules.0.match.1",
      { policy: { rules: [{ match: ["**", "index.docker.io/team/**"], pull: "deny" }] } },
    ],
    ["policy.immutableTags.0", { policy: { immutableTags: ["quay.example/team/app:v*"] } }],
    ["verify.0.repositories.0", { verify: [{ repositories: ["ghcr.io:443/team/**"] }] }],
  ])("that can never fit are mistakes in the configuration: %s", async (path, section) => {
    const hub = await openHub();
    const config = { upstreams: { "docker.io": upstreamOf(hub) }, ...section };
    await expect(startHubcap({ config })).rejects.toThrow(`${path}: `);
  });

  test("know Docker Hub's short names with globs in them", async () => {
    const hub = await openHub();
    const image = await buildImage({ seed: "short" });
    for (const name of ["redis", "nginx"]) hub.push(image, `library/${name}`, "1");
    const policy = { rules: [{ match: ["docker.io/red*"], pull: "deny" }] };
    const hubcap = await startHubcap({
      config: { upstreams: { "docker.io": upstreamOf(hub) }, policy },
      inProcess: true,
    });
    onTestFinished(() => hubcap.dispose());
    const statuses: number[] = [];
    for (const name of ["redis", "library/redis", "nginx"])
      statuses.push((await ask(`${hubcap.url}/v2/${name}/manifests/1`)).status);
    expect(statuses).toEqual([403, 403, 200]);
  });
});

test("a session of TLS does not outlive the authority of the client that began it", async () => {
  const hub = await openHub();
  const [authority, before, after] = [makeAuthority(), makeAuthority(), makeAuthority()];
  const folder = await mkdtemp(join(tmpdir(), "hubcap-test-listeners-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = (name: string): string => join(folder, name);
  const { cert, key } = authority.issue({ names: ["127.0.0.1"] });
  await Promise.all([
    writeFile(file("tls.crt"), cert),
    writeFile(file("tls.key"), key),
    writeFile(file("ca.crt"), before.cert),
  ]);
  const tls = {
    certificateFile: file("tls.crt"),
    keyFile: file("tls.key"),
    clientCaFile: file("ca.crt"),
    clientCertificates: "optional",
  };
  const hubcap = await startHubcap({
    config: {
      registry: { tls },
      upstreams: { "docker.io": upstreamOf(hub) },
      access: [
        { who: ["certificate:node.test"], allow: "pull" },
        { who: ["*"], allow: "deny" },
      ],
    },
  });
  onTestFinished(() => hubcap.dispose());
  hub.push(await buildImage({ seed: "tls session" }), "library/app", "1");
  const client = before.issue({ names: ["node.test"] });
  const pull = async (
    maxVersion: "TLSv1.2" | "TLSv1.3",
    session?: Buffer,
  ): Promise<[string, Buffer | undefined]> => {
    const { port } = new URL(hubcap.url);
    let ticket: Buffer | undefined;
    const text = await new Promise<string>((resolve) => {
      const socket: TLSSocket = connect({
        host: "127.0.0.1",
        port: Number(port),
        ca: authority.cert,
        ...client,
        maxVersion,
        ...(session && { session }),
      });
      let reply = "";
      socket.on("session", (given: Buffer) => (ticket = given));
      // Where a stranger's certificate ends the handshake, as it does in TLS 1.2, there is no answer.
      socket
        .on("error", () => resolve(reply))
        .on("data", (data: Buffer) => (reply += data.toString("latin1")));
      socket.on("end", () => resolve(reply));
      socket.write("GET /v2/library/app/manifests/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    });
    return [text.slice(9, 12), ticket];
  };
  for (const version of ["TLSv1.3", "TLSv1.2"] as const) {
    await writeFile(file("ca.crt"), before.cert);
    await vi.waitUntil(async () => (await pull(version))[0] === "200", patience);
    const [, ticket] = await pull(version);
    expect((await pull(version, ticket))[0]).toBe("200");
    await writeFile(file("ca.crt"), after.cert);
    await vi.waitUntil(async () => (await pull(version))[0] !== "200", patience);
    expect((await pull(version, ticket))[0]).not.toBe("200");
  }
});
