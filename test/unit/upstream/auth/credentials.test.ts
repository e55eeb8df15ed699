import { systemClock } from "../../../../src/async/clock.ts";
import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { openCredential, type CredentialOptions } from "../../../../src/upstream/auth/credentials.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { asked, manifest, nginx, reply, replyManifest, serve, upstream } from "../server.ts";

const noPost = (): Promise<never> => Promise.reject(new Error("no request expected"));
const base64 = (text: string): string => Buffer.from(text).toString("base64");
const basic = (login: string): string => `Basic ${base64(login)}`;

async function file(text: string): Promise<{ path: string; rewrite: (text: string) => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-account-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "secret");
  await writeFile(path, text);
  return { path, rewrite: (text) => writeFile(path, text) };
}

async function shown(options: CredentialOptions, url = "https://registry.example") {
  const credential = await openCredential(options, url, systemClock);
  const secret = await credential.secret(noPost);
  return { account: credential.account, header: secret?.basic(), isIdentity: secret?.isIdentity };
}

describe("what was configured is what is sent", () => {
  test("a password", async () => {
    const options = { username: "cluster", password: { reveal: () => "p:w" } };
    expect(await shown(options)).toEqual({
      account: "cluster",
      header: basic("cluster:p:w"),
      isIdentity: false,
    });
  });

  test.each([
    ["with a line end", "s3cret\n", "s3cret"],
    ["with Windows' line end", "s3cret\r\n", "s3cret"],
    ["with spaces, which are part of it", " s3cret ", " s3cret "],
    [
      "a Google key of many lines",
      '{\n  "type": "service_account"\n}\n',
      '{\n  "type": "service_account"\n}',
    ],
  ])("a password file %s", async (_, text, password) => {
    const { path } = await file(text);
    const { header } = await shown({ username: "_json_key", passwordFile: path });
    expect(header).toBe(basic(`_json_key:${password}`));
  });

  test("a password file is read again when it has changed", async () => {
    const { path, rewrite } = await file("old");
    const credential = await openCredential(
      { username: "u", passwordFile: path },
      "https://x.example",
      systemClock,
    );
    await rewrite("newer");
    expect((await credential.secret(noPost))?.basic()).toBe(basic("u:newer"));
  });

  test("and when it was refused, even if nothing shows that it has changed", async () => {
    const { path, rewrite } = await file("old");
    const time = new Date(1_700_000_000_000);
    await utimes(path, time, time);
    const credential = await openCredential(
      { username: "u", passwordFile: path },
      "https://x.example",
      systemClock,
    );
    await rewrite("new");
    await utimes(path, time, time);
    const before = await credential.secret(noPost);
    expect(before?.basic()).toBe(basic("u:old"));
    if (before) credential.refused(before);
    expect((await credential.secret(noPost))?.basic()).toBe(basic("u:new"));
  });

  test("a missing file is known at once", async () => {
    const options = { username: "u", passwordFile: "/nowhere/secret" };
    await expect(openCredential(options, "https://x.example", systemClock)).rejects.toThrow(
      "/nowhere/secret",
    );
  });
});

const config = (auths: object): string => JSON.stringify({ auths });
const login = async (text: string, url: string) => shown({ dockerConfigFile: (await file(text)).path }, url);

describe("a Docker config.json", () => {
  test.each([
    ["by host", "ghcr.io", "https://ghcr.io"],
    ["by address", "https://ghcr.io", "https://ghcr.io"],
    ["by address with the API's path", "https://ghcr.io/v2/", "https://ghcr.io"],
    ["with a port", "harbor.example:8443", "https://harbor.example:8443"],
    ["Docker Hub's old key", "https://index.docker.io/v1/", "https://registry-1.docker.io"],
    ["Docker Hub by name", "docker.io", "https://registry-1.docker.io"],
  ])("%s", async (_, key, url) => {
    const text = config({ "other.example": { auth: base64("a:b") }, [key]: { auth: base64("user:pass") } });
    expect(await login(text, url)).toEqual({
      account: "user",
      header: basic("user:pass"),
      isIdentity: false,
    });
  });

  test("user name and password", async () => {
    const text = config({ "r.example": { username: "user", password: "pass" } });
    expect(await login(text, "https://r.example")).toMatchObject({
      account: "user",
      header: basic("user:pass"),
    });
  });

  test.each([
    [{ identitytoken: "idt" }, "<token>"],
    [
      { auth: base64("00000000-0000-0000-0000-000000000000:"), identitytoken: "idt" },
      "00000000-0000-0000-0000-000000000000",
    ],
  ])("an identity token: %j", async (entry, account) => {
    expect(await login(config({ "r.example": entry }), "https://r.example")).toEqual({
      account,
      header: basic(`${account}:idt`),
      isIdentity: true,
    });
  });

  test.each([
    ["no entry", config({})],
    ["the entry of a longer host", config({ "r.example.evil.test": { auth: base64("a:b") } })],
    ["the entry of its domain", config({ example: { auth: base64("a:b") } })],
    ["the entry of one of its paths", config({ "r.example/team": { auth: base64("a:b") } })],
    ["the entry of another port", config({ "r.example:5000": { auth: base64("a:b") } })],
    ["an empty entry", config({ "r.example": {} })],
    ["an auth without a colon", config({ "r.example": { auth: base64("canary-s3cret") } })],
    ["no JSON", `{"auths": canary-s3cret`],
    ["no auths", `{"canary-s3cret": 1}`],
  ])("%s is an error at start, which quotes nothing", async (_, text) => {
    const error = await login(text, "https://r.example").catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Error);
    expect(inspect(error, { depth: 9 })).not.toContain("canary");
  });
});

test("a credential cannot be printed", async () => {
  const { path } = await file("canary-s3cret");
  const credential = await openCredential(
    { username: "u", passwordFile: path },
    "https://x.example",
    systemClock,
  );
  const secret = await credential.secret(noPost);
  for (const held of [credential, secret]) {
    expect(inspect(held, { depth: 9, showHidden: true })).not.toContain("canary");
    expect(JSON.stringify(held)).not.toContain("canary");
  }
});

const jwt = (claims: object): string => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.x`;

describe("Azure", () => {
  test("an access token is exchanged for a refresh token, once, and that for pull tokens", async () => {
    const { path } = await file("aad-access-token\n");
    let now = Date.now();
    const refreshToken = jwt({ exp: now / 1000 + 3 * 3600 });
    const forms: object[] = [];
    const answers: Record<string, object> = {
      "/oauth2/exchange": { refresh_token: refreshToken },
      "/oauth2/token": { access_token: "pull" },
    };
    const server = await serve((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        forms.push(Object.fromEntries(new URLSearchParams(body)));
        const answer = answers[request.url ?? ""];
        if (answer) return reply(response, 200, {}, JSON.stringify(answer));
        if (request.headers.authorization === "Bearer pull") return replyManifest(response);
        return reply(response, 401, {
          "www-authenticate": `Bearer realm="${server.url}/oauth2/token",service="s"`,
        });
      });
    });
    const credential = await openCredential(
      { provider: "acr", accessTokenFile: path, tenant: "t1" },
      server.url,
      { now: () => now },
    );
    const { registry } = upstream(server.url, {
      tokenRealms: [server.url],
      credential,
      clock: { ...systemClock, now: () => now },
    });
    const pull = (): Promise<unknown> => registry.headManifest(nginx, digestOf(manifest), asked);
    const exchanges = (): number => server.asked.filter((line) => line === "POST /oauth2/exchange").length;
    await pull();
    const service = new URL(server.url).host;
    expect(forms).toContainEqual({
      grant_type: "access_token",
      service,
      tenant: "t1",
      access_token: "aad-access-token",
    });
    expect(forms).toContainEqual(
      expect.objectContaining({ grant_type: "refresh_token", refresh_token: refreshToken }),
    );
    now += 2 * 3600_000;
    await pull();
    expect(exchanges()).toBe(1);
    now += 3600_000;
    await pull();
    expect(exchanges()).toBe(2);
  });
});

describe("Amazon ECR", () => {
  test("the SDK's password is used for eleven hours, for the registry and region that the host names", async () => {
    const bodies: string[] = [];
    let now = Date.now();
    const aws = await serve((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        bodies.push(body);
        const authorizationToken = base64(`AWS:password-${bodies.length}`);
        const expiresAt = (now + 12 * 3600_000) / 1000;
        reply(
          response,
          200,
          { "content-type": "application/x-amz-json-1.1" },
          JSON.stringify({ authorizationData: [{ authorizationToken, expiresAt }] }),
        );
      });
    });
    const environment = {
      AWS_ENDPOINT_URL_ECR: aws.url,
      AWS_ACCESS_KEY_ID: "id",
      AWS_SECRET_ACCESS_KEY: "key",
      AWS_EC2_METADATA_DISABLED: "true",
    };
    const before = { ...process.env };
    Object.assign(process.env, environment);
    onTestFinished(() => {
      process.env = before;
    });
    const credential = await openCredential(
      { provider: "ecr" },
      "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com",
      { now: () => now },
    );
    expect(credential.account).toBe("AWS");
    const secrets = await Promise.all([credential.secret(noPost), credential.secret(noPost)]);
    expect(secrets.map((secret) => secret?.basic())).toEqual([
      basic("AWS:password-1"),
      basic("AWS:password-1"),
    ]);
    expect(JSON.parse(bodies[0] ?? "")).toEqual({ registryIds: ["123456789012"] });
    expect(aws.requests[0]?.headers.authorization).toContain("/eu-central-1/ecr/aws4_request");
    now += 11 * 3600_000 - 1;
    await credential.secret(noPost);
    expect(bodies).toHaveLength(1);
    now += 1;
    const [secret] = secrets;
    expect((await credential.secret(noPost))?.basic()).toBe(basic("AWS:password-2"));
    // A password that is refused at once was not too old, and AWS is not asked for another.
    if (secret) credential.refused(secret);
    await credential.secret(noPost);
    expect(bodies).toHaveLength(2);
  });
});
