/** Basic: the credential is sent to the registry itself, one request at a time until it is known to be right. */
import { expect, test } from "vitest";
import { digestOf } from "../../../../src/oci/digest.ts";
import { parseRepositoryName, type Repository } from "../../../../src/oci/reference.ts";
import { type Credential, AccountSecret } from "../../../../src/upstream/auth/credential.ts";
import { asked, manifest, nginx, reply, replyManifest, serve, upstream, type TestServer } from "../server.ts";

const digest = digestOf(manifest);
const basic = `Basic ${Buffer.from("cluster:s3cret").toString("base64")}`;

function account(password = "s3cret"): Credential {
  const secret = new AccountSecret("cluster", password);
  return { account: "cluster", secret: async () => secret, refused: () => undefined };
}

function repository(text: string): Repository {
  const name = parseRepositoryName(text);
  if (!name) throw new Error(text);
  return { upstream: "test.example", name };
}

test("the credential is sent to the registry that asks for it", async () => {
  const registry = await serve((request, response) =>
    request.headers.authorization === basic
      ? replyManifest(response)
      : reply(response, 401, { "www-authenticate": 'Basic realm="r"' }),
  );
  const { registry: client } = upstream(registry.url, { credential: account() });
  await client.headManifest(nginx, digest, asked);
  await client.headManifest(nginx, digest, asked);
  expect(registry.asked).toHaveLength(3);
});

/** The requests that showed the credential. */
function shown({ requests, asked }: TestServer): string[] {
  return asked.filter((_, index) => requests[index]?.headers.authorization !== undefined);
}

test("a wrong password is shown for one name and by one login of our own, and then not for a minute", async () => {
  const registry = await serve((_, response) =>
    reply(response, 401, { "www-authenticate": "Basic realm=r" }),
  );
  const { registry: client } = upstream(registry.url, { credential: account("wrong") });
  for (const _ of [1, 2, 3]) {
    await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "denied" });
  }
  expect(shown(registry)).toEqual([`HEAD /v2/${nginx.name}/manifests/${digest}`, "GET /v2/"]);
});

test("the same for thirty requests at once", async () => {
  const registry = await serve((_, response) =>
    reply(response, 401, { "www-authenticate": "Basic realm=r" }),
  );
  const { registry: client } = upstream(registry.url, { credential: account("wrong") });
  const results = await Promise.allSettled(
    Array.from({ length: 30 }, (_, index) => client.headManifest(repository(`a/b${index}`), digest, asked)),
  );
  expect(results.every((result) => result.status === "rejected" && result.reason.kind === "denied")).toBe(
    true,
  );
  expect(shown(registry)).toEqual([expect.stringMatching(/^HEAD /), "GET /v2/"]);
});

test("a right one holds up no request once it is known to be right", async () => {
  let running = 0;
  let most = 0;
  const registry = await serve((request, response) => {
    if (request.headers.authorization !== basic) {
      return reply(response, 401, { "www-authenticate": "Basic realm=r" });
    }
    running += 1;
    most = Math.max(most, running);
    return setTimeout(() => {
      running -= 1;
      replyManifest(response);
    }, 20);
  });
  const { registry: client } = upstream(registry.url, { credential: account() });
  const eight = () => Promise.all(Array.from({ length: 8 }, () => client.headManifest(nginx, digest, asked)));
  await client.headManifest(nginx, digest, asked);
  expect(most).toBe(1);
  await eight();
  expect(most).toBeGreaterThan(1);
});

test("without a credential it is a refusal", async () => {
  const registry = await serve((_, response) =>
    reply(response, 401, { "www-authenticate": "Basic realm=r" }),
  );
  const { registry: client } = upstream(registry.url);
  await expect(client.headManifest(nginx, digest, asked)).rejects.toMatchObject({ kind: "denied" });
});
