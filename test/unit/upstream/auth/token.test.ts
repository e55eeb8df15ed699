import { systemClock } from "../../../../src/async/clock.ts";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { type Credential, AccountSecret } from "../../../../src/upstream/auth/credential.ts";
import { parseRepositoryName, type Repository } from "../../../../src/oci/reference.ts";
import { digestOf } from "../../../../src/oci/digest.ts";
import { QuotaError } from "../../../../src/quota/quota.ts";
import {
  asked,
  manifest,
  nginx,
  reply,
  replyManifest,
  serve,
  serveRaw,
  upstream,
  type TestServer,
} from "../server.ts";

const digest = digestOf(manifest);

function account(password = "s3cret", isIdentity = false): Credential {
  const secret = new AccountSecret("cluster", password, isIdentity);
  return { account: "cluster", secret: async () => secret, refused: () => undefined };
}

const basic = `Basic ${Buffer.from("cluster:s3cret").toString("base64")}`;

function challenge(response: ServerResponse, realm: string, rest = ""): void {
  reply(response, 401, { "www-authenticate": `Bearer realm="${realm}",service="registry.test"${rest}` });
}

/** A registry that wants the token which `service` currently gives out. */
async function hub(
  tokenAnswer: (request: IncomingMessage, response: ServerResponse, form: URLSearchParams) => unknown,
  current: () => string = () => "token-1",
  error: () => string = () => "",
): Promise<{ registry: TestServer; service: TestServer }> {
  const service = await serve((request, response) => {
    let text = "";
    request.on("data", (chunk: Buffer) => (text += chunk.toString()));
    request.on("end", () => tokenAnswer(request, response, new URLSearchParams(text)));
  });
  const registry = await serve((request, response) => {
    if (request.headers.authorization !== `Bearer ${current()}`) {
      return challenge(response, `${service.url}/token`, `,scope="repository:evil:pull,push"${error()}`);
    }
    return replyManifest(response);
  });
  return { registry, service };
}

const give =
  (fields: object = { token: "token-1", expires_in: 300 }) =>
  (_: IncomingMessage, response: ServerResponse): void =>
    reply(response, 200, {}, JSON.stringify(fields));

function repository(text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error(text);
  return { upstream: "test.example", name };
}

describe("tokens", () => {
  test("a token service that closed an idle connection gets a second request", async () => {
    let requests = 0;
    const { registry, service } = await hub((request, response) => {
      requests += 1;
      if (requests === 2) return request.socket.destroy();
      return give()(request, response);
    });
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account(),
    });
    await client.getManifest(nginx, digest, asked);
    await client.getManifest(repository("library/redis"), digest, asked);
    expect(requests).toBe(3);
  });

  test("the token service sees the credential, our own scope and the challenge's service; the registry sees the token", async () => {
    const { registry, service } = await hub(give());
    const { registry: client, bucket } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account(),
    });
    await client.getManifest(nginx, digest, asked);
    expect(service.asked).toEqual([
      "GET /token?service=registry.test&scope=repository%3Alibrary%2Fnginx%3Apull",
    ]);
    expect(service.requests[0]?.headers.authorization).toBe(basic);
    expect(registry.requests.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      "Bearer token-1",
    ]);
    // A pull is never spent on a challenge.
    expect(bucket.kinds).toEqual(["ping", "token", "manifest-get"]);
    expect(bucket.tokens).toEqual(["token-1"]);
  });

  test("many requests at once fetch one token, later ones none", async () => {
    const { registry, service } = await hub(give());
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
    await Promise.all(Array.from({ length: 30 }, () => client.headManifest(nginx, digest, asked)));
    await client.headManifest(nginx, digest, asked);
    expect(service.asked).toHaveLength(1);
    expect(registry.asked.filter((line) => line === "GET /v2/")).toHaveLength(1);
  });

  test.each([
    [{ token: "token-1", expires_in: 300 }, 270],
    [{ access_token: "token-1", expires_in: 20 }, 18],
    [{ token: "token-1" }, 54],
    [{ token: "token-1", expires_in: -5 }, 54],
    [{ token: "token-1", expires_in: "nonsense" }, 54],
  ])("%j is used for %i seconds", async (fields, seconds) => {
    let now = 1_000_000;
    const { registry, service } = await hub(give(fields));
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      clock: { ...systemClock, now: () => now },
    });
    await client.headManifest(nginx, digest, asked);
    now += seconds * 1000 - 1;
    await client.headManifest(nginx, digest, asked);
    expect(service.asked).toHaveLength(1);
    now += 1;
    await client.headManifest(nginx, digest, asked);
    expect(service.asked).toHaveLength(2);
  });

  test("R36: a token that stops working is renewed once for all requests", async () => {
    let current = "token-1";
    const { registry, service } = await hub(
      (_, response) => reply(response, 200, {}, JSON.stringify({ token: current })),
      () => current,
    );
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
    await client.headManifest(nginx, digest, asked);
    current = "token-2";
    await Promise.all(Array.from({ length: 30 }, () => client.headManifest(nginx, digest, asked)));
    expect(service.asked).toHaveLength(2);
  });

  test("R36: a registry that takes no token ends in a refusal, not in a loop", async () => {
    const { registry, service } = await hub(give({ token: "never-good" }));
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account(),
    });
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "denied" });
    expect(service.asked).toHaveLength(1);
    expect(registry.asked).toHaveLength(2);
  });

  test("a token that lost its rights is not renewed in vain, and not kept either", async () => {
    let mayPull = true;
    const { registry, service } = await hub(
      give(),
      () => (mayPull ? "token-1" : "none"),
      () => `,error="insufficient_scope"`,
    );
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
    await client.headManifest(nginx, digest, asked);
    mayPull = false;
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "denied" });
    expect(service.asked).toHaveLength(1);
    mayPull = true;
    await client.headManifest(nginx, digest, asked);
    expect(service.asked).toHaveLength(2);
  });

  test("a caller that leaves does not spoil the token for the others", async () => {
    const gate = Promise.withResolvers<void>();
    const { registry, service } = await hub(async (_, response) => {
      await gate.promise;
      give()(_, response);
    });
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
    const impatient = new AbortController();
    const first = client.headManifest(nginx, digest, { ...asked, signal: impatient.signal });
    await expect.poll(() => service.asked.length).toBe(1);
    const second = client.headManifest(nginx, digest, asked);
    impatient.abort(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    gate.resolve();
    await expect(second).resolves.toMatchObject({ digest });
    expect(service.asked).toHaveLength(1);
  });
});

describe("realms", () => {
  test("S1: a realm that is not allowed gets no request, and no one the credential", async () => {
    const evil = await serve((_, response) => give()(_, response));
    const registry = await serve((_, response) => challenge(response, `${evil.url}/token`));
    const { registry: client } = upstream(registry.url, {
      tokenRealms: ["https://auth.docker.io"],
      credential: account(),
    });
    await expect(client.getManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    await expect(client.getBlob(nginx, digest, 0, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(evil.asked).toEqual([]);
    expect(registry.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test.each([
    "https://auth.docker.io.evil.test/token",
    "https://auth.docker.io@evil.test/token",
    "https://evil.test/https://auth.docker.io/token",
    "http://auth.docker.io/token",
    "https://AUTH.docker.io:8443/token",
    "https://user:pass@auth.docker.io/token",
    "//auth.docker.io/token",
    "/token",
    "",
    "file:///etc/passwd",
  ])("S2: realm %s is refused", async (realm) => {
    const registry = await serve((_, response) => challenge(response, realm));
    const { registry: client, bucket } = upstream(registry.url, {
      tokenRealms: ["https://auth.docker.io"],
      credential: account(),
    });
    await expect(client.getManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(bucket.kinds).toEqual(["ping"]);
  });

  test("S2: a realm that turns evil later is refused as well, and a Basic challenge beside it does not help", async () => {
    const { service } = await hub(give());
    let isEvil = false;
    const registry = await serve((_, response) => {
      if (!isEvil) return challenge(response, `${service.url}/token`);
      return reply(response, 401, {
        "www-authenticate": ['Bearer realm="https://evil.test/t"', 'Basic realm="x"'],
      });
    });
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account(),
    });
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "denied" });
    isEvil = true;
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(registry.requests.some(({ headers }) => headers.authorization?.startsWith("Basic"))).toBe(false);
  });

  test("S3: a token service that redirects is not followed", async () => {
    const target = await serve(give());
    const { registry, service } = await hub((_, response) =>
      reply(response, 302, { location: `${target.url}/token` }),
    );
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account(),
    });
    await expect(client.getManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(target.asked).toEqual([]);
    expect(service.asked).toHaveLength(1);
  });

  test("S22: an endless token answer is cut after 64 KiB", async () => {
    let sent = 0;
    const service = await serveRaw((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        const chunk = Buffer.concat([
          Buffer.from("10000\r\n"),
          Buffer.alloc(0x10000, " "),
          Buffer.from("\r\n"),
        ]);
        const pump = (): void => {
          while (!socket.destroyed && sent < 1e9) {
            sent += chunk.length;
            if (!socket.write(chunk)) return;
          }
        };
        socket.on("drain", pump);
        pump();
      });
    });
    const registry = await serve((_, response) => challenge(response, `${service.url}/token`));
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  test.each(["not json", "{}", "[]", "null", `{"token":""}`, `{"token":"a\\r\\nx: y"}`, `{"token":7}`])(
    "a token service that answers %s is not believed",
    async (body) => {
      const { registry, service } = await hub((_, response) => reply(response, 200, {}, body));
      const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
      await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "corrupt" });
    },
  );
});

test("no token is fetched for a request that will be refused", async () => {
  const { registry, service } = await hub(give());
  const { registry: client, bucket } = upstream(registry.url, { tokenRealms: [service.url] });
  await client.headManifest(repository("a/known"), digest, asked);
  bucket.refuse = ({ kind }) =>
    kind === "manifest-get" ? new QuotaError("exhausted", "no pull is left", 60) : undefined;
  await expect(client.getManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "limited" });
  expect(service.asked).toHaveLength(1);
  await client.headManifest(nginx, digest, asked);
  expect(service.asked).toHaveLength(2);
});

describe("logins", () => {
  test("a wrong password is tried for one of fifty repositories and by one login of our own, and by another after a minute", async () => {
    let now = 1_000_000;
    const { registry, service } = await hub((_, response) => reply(response, 401));
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account("wrong"),
      clock: { ...systemClock, now: () => now },
    });
    const pulls = Array.from({ length: 50 }, (_, index) =>
      client.headManifest(repository(`a/b${index}`), digest, asked),
    );
    const results = await Promise.allSettled(pulls);
    expect(results.every((result) => result.status === "rejected" && result.reason.kind === "denied")).toBe(
      true,
    );
    expect(service.asked).toHaveLength(2);
    now += 61_000;
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "denied" });
    expect(service.asked.slice(2)).toEqual(["GET /token?service=registry.test"]);
  });

  test("a password that was rotated on disk is read again and used at once", async () => {
    let current = new AccountSecret("cluster", "old");
    const refused: AccountSecret[] = [];
    const credential: Credential = {
      account: "cluster",
      secret: async () => current,
      refused: (secret) => {
        refused.push(secret);
        current = new AccountSecret("cluster", "s3cret");
      },
    };
    const { registry, service } = await hub((request, response) =>
      request.headers.authorization === basic ? give()(request, response) : reply(response, 401),
    );
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url], credential });
    await client.headManifest(nginx, digest, asked);
    expect(refused).toHaveLength(1);
    // The old one for the repository and by a login of our own, and the new one.
    expect(service.asked).toHaveLength(3);
  });

  test("a credential that cannot be obtained is a refusal that says why", async () => {
    const credential: Credential = {
      account: "cluster",
      secret: () => Promise.reject(new Error("the file is gone")),
      refused: () => undefined,
    };
    const { registry, service } = await hub(give());
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url], credential });
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({
      kind: "denied",
      message: expect.stringContaining("the file is gone"),
    });
  });

  test("an identity token is sent in an OAuth2 POST", async () => {
    const { registry, service } = await hub((request, response, form) => {
      expect(Object.fromEntries(form)).toEqual({
        grant_type: "refresh_token",
        refresh_token: "s3cret",
        service: "registry.test",
        scope: "repository:library/nginx:pull",
        client_id: "hubcap",
      });
      give({ access_token: "token-1" })(request, response);
    });
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account("s3cret", true),
    });
    await client.headManifest(nginx, digest, asked);
    expect(service.asked).toEqual(["POST /token"]);
  });

  test("an identity token is judged by an OAuth2 POST that names no repository", async () => {
    let isRight = true;
    const { registry, service } = await hub((request, response, form) => {
      const isShown = isRight && request.method === "POST" && !form.get("scope")?.includes("hidden");
      return isShown ? give()(request, response) : reply(response, 401);
    });
    const { registry: client } = upstream(registry.url, {
      tokenRealms: [service.url],
      credential: account("s3cret", true),
    });
    const head = (name: string) => client.headManifest(repository(name), digest, asked);
    for (let number = 0; number < 40; number += 1)
      await expect(head(`evil/hidden-${number}`)).rejects.toMatchObject({ reason: "denied-by-upstream" });
    await head("library/app");
    service.asked.length = 0;
    isRight = false;
    for (let number = 0; number < 40; number += 1)
      await expect(head(`library/app-${number}`)).rejects.toMatchObject({ kind: "denied" });
    // Each as a POST and a GET: eleven names, and ours.
    expect(service.asked.length).toBeLessThanOrEqual(24);
    await expect(head("library/last")).rejects.toMatchObject({ reason: "credential-refused" });
  });

  test.each([400, 401, 404, 405])(
    "a token service that answers POST with %i is asked by GET",
    async (status) => {
      const { registry, service } = await hub((request, response) =>
        request.method === "POST" ? reply(response, status) : give()(request, response),
      );
      const { registry: client } = upstream(registry.url, {
        tokenRealms: [service.url],
        credential: account("s3cret", true),
      });
      await client.headManifest(nginx, digest, asked);
      expect(service.requests.map(({ method }) => method)).toEqual(["POST", "GET"]);
      expect(service.requests[1]?.headers.authorization).toBe(basic);
    },
  );

  test.each([
    [429, "limited"],
    [500, "unreachable"],
    [403, "denied"],
    [404, "denied"],
  ])("a token service that answers %i is %s", async (status, kind) => {
    const { registry, service } = await hub((_, response) => reply(response, status, { "retry-after": "7" }));
    const { registry: client } = upstream(registry.url, { tokenRealms: [service.url] });
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind });
  });
});
