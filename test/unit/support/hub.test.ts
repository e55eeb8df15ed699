/** The stand-in is honest: it signs in, limits, redirects and counts as Docker Hub does. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, type Reply } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { uuidOf } from "../../support/hub/accounts.ts";
import { buildArtifact, buildImage, type Image } from "../../support/images.ts";

const everything = { accept: "*/*" };
let hub: Hub;
let image: Image;
let now: number;

beforeEach(async () => {
  now = Date.UTC(2026, 0, 1);
  hub = await startHub({
    limit: 3,
    now: () => now,
    accounts: {
      free: { password: "right", limit: 5 },
      paid: { password: "right", limit: "unlimited" },
      robot: { password: "right", identityToken: "identity-of-robot" },
    },
  });
  image = await buildImage();
  hub.push(image, "library/app", "1");
});

afterEach(() => hub.stop());

interface TokenBody {
  readonly token: string;
  readonly access_token: string;
  readonly expires_in: number;
  readonly refresh_token?: string;
}

function basic(name: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}` };
}

function askToken(scope: string, headers: Record<string, string> = {}): Promise<Reply> {
  const query = `service=registry.docker.io&scope=${encodeURIComponent(scope)}`;
  return ask(`${hub.behaviour.realm}?${query}`, { headers });
}

async function bearer(repository = "library/app", account?: string): Promise<Record<string, string>> {
  const headers = account === undefined ? {} : basic(account, "right");
  const reply = await askToken(`repository:${repository}:pull`, headers);
  const { token } = JSON.parse(reply.body.toString()) as TokenBody;
  return { authorization: `Bearer ${token}` };
}

function manifest(reference: string, headers: Record<string, string>, method = "GET"): Promise<Reply> {
  return ask(`${hub.url}/v2/library/app/manifests/${reference}`, {
    method,
    headers: { ...everything, ...headers },
  });
}

function errorCode(reply: Reply): string | undefined {
  return (JSON.parse(reply.body.toString()) as { errors: { code: string }[] }).errors[0]?.code;
}

function digests(reply: Reply): string[] {
  const index = JSON.parse(reply.body.toString()) as { manifests: { digest: string }[] };
  return index.manifests.map((entry) => entry.digest);
}

describe("signing in", () => {
  it("challenges with the realm, the service and the repository's scope", async () => {
    const reply = await manifest("1", {});
    expect(reply.status).toBe(401);
    expect(reply.headers["www-authenticate"]).toBe(
      `Bearer realm="${hub.tokenService.url}/token",service="registry.docker.io",scope="repository:library/app:pull"`,
    );
    expect(errorCode(reply)).toBe("UNAUTHORIZED");
    expect((await ask(`${hub.url}/v2/`)).status).toBe(401);
  });

  it("issues a token whose claims tell the pull limit", async () => {
    const { authorization = "" } = await bearer("library/app", "free");
    const claims = JSON.parse(
      Buffer.from(authorization.split(".")[1] ?? "", "base64url").toString(),
    ) as object;
    expect(claims).toMatchObject({
      access: [
        {
          type: "repository",
          name: "library/app",
          actions: ["pull"],
          parameters: { pull_limit: "5", pull_limit_interval: "21600" },
        },
      ],
      exp: now / 1000 + 300,
      iat: now / 1000,
    });
  });

  it("refuses a token that has expired, was revoked, was forged or is for another repository", async () => {
    hub.push(image, "library/other", "1");
    const good = await bearer();
    expect((await manifest("1", good, "HEAD")).status).toBe(200);
    expect((await manifest("1", { authorization: `${good["authorization"]}x` }, "HEAD")).status).toBe(401);
    const elsewhere = await manifest("1", await bearer("library/other"));
    expect(elsewhere.status).toBe(401);
    expect(elsewhere.headers["www-authenticate"]).toContain('error="insufficient_scope"');
    hub.advance(300_000);
    expect((await manifest("1", good, "HEAD")).status).toBe(401);
    const fresh = await bearer();
    hub.accounts.revokeAll();
    expect((await manifest("1", fresh, "HEAD")).status).toBe(401);
  });

  it("answers 401 to a wrong password and locks the name after five", async () => {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const reply = await askToken("repository:library/app:pull", basic("free", "wrong"));
      expect(reply.status).toBe(401);
    }
    expect(hub.accounts.locked("free")).toBe(true);
    expect((await askToken("repository:library/app:pull", basic("free", "right"))).status).toBe(429);
    expect(hub.accounts.failedLogins).toBe(6);
    hub.advance(600_000);
    expect((await askToken("repository:library/app:pull", basic("free", "right"))).status).toBe(200);
  });

  it("shows a private repository, and an unknown one, to no one else", async () => {
    hub.shelf.restrict("library/app", ["free"]);
    expect((await manifest("1", await bearer())).status).toBe(401);
    expect((await manifest("1", await bearer("library/app", "paid"))).status).toBe(401);
    expect((await manifest("1", await bearer("library/app", "free"))).status).toBe(200);
    const absent = await ask(`${hub.url}/v2/library/absent/manifests/1`, {
      headers: await bearer("library/absent"),
    });
    expect(absent.status).toBe(401);
  });

  it("takes the OAuth2 form with a password and with an identity token", async () => {
    const post = (form: Record<string, string>): Promise<Reply> =>
      ask(hub.behaviour.realm, { method: "POST", body: new URLSearchParams(form).toString() });
    const scope = "repository:library/app:pull";
    const identified = await post({ grant_type: "refresh_token", refresh_token: "identity-of-robot", scope });
    const { access_token: token } = JSON.parse(identified.body.toString()) as TokenBody;
    expect((await manifest("1", { authorization: `Bearer ${token}` })).status).toBe(200);
    expect(hub.counts.charged.byAccount).toEqual({ robot: 1 });
    const refused = await post({ grant_type: "password", username: "free", password: "wrong", scope });
    expect(refused.status).toBe(401);
    expect((await post({ grant_type: "refresh_token", refresh_token: "no", scope })).status).toBe(401);
  });

  it("can ask for Basic or for nothing instead", async () => {
    hub.behaviour.auth = "basic";
    expect((await manifest("1", {})).headers["www-authenticate"]).toMatch(/^Basic /);
    expect((await manifest("1", basic("free", "right"))).status).toBe(200);
    expect((await manifest("1", basic("free", "wrong"))).status).toBe(401);
    hub.behaviour.auth = "none";
    expect((await manifest("1", {})).status).toBe(200);
  });
});

describe("the pull limit", () => {
  it("counts manifest GETs by tag and digest, not HEADs, blobs or tags, and tells so in headers", async () => {
    const headers = await bearer();
    const head = await manifest("1", headers, "HEAD");
    expect(head.headers).toMatchObject({
      "ratelimit-limit": "3;w=21600",
      "ratelimit-remaining": "3;w=21600",
      "docker-ratelimit-source": "127.0.0.1",
      "docker-content-digest": image.root.digest,
      "content-length": String(image.root.size),
    });
    expect((await manifest("1", headers)).headers["ratelimit-remaining"]).toBe("2;w=21600");
    expect((await manifest(image.root.digest, headers)).headers["ratelimit-remaining"]).toBe("1;w=21600");
    await ask(`${hub.url}/v2/library/app/tags/list`, { headers });
    await ask(`${hub.url}/v2/library/app/blobs/${[...image.blobs.keys()][0]}`, { headers });
    expect(hub.remaining()).toBe(1);
    expect(hub.counts.manifestGets).toMatchObject({
      total: 2,
      byReference: { "1": 1, [image.root.digest]: 1 },
      byDigest: { [image.root.digest]: 2 },
      byRepository: { "library/app": 2 },
      byAccount: { anonymous: 2 },
    });
    expect(hub.counts.manifestHeads.total).toBe(1);
    expect(hub.counts.charged.total).toBe(2);
  });

  it("refuses with Docker Hub's words and no Retry-After, and rolls", async () => {
    const headers = await bearer();
    await manifest("1", headers);
    hub.advance(60_000);
    const later = await bearer();
    await manifest("1", later);
    await manifest("1", later);
    const refused = await manifest("1", later);
    expect(refused.status).toBe(429);
    expect(errorCode(refused)).toBe("TOOMANYREQUESTS");
    expect(refused.body.toString()).toContain("https://www.docker.com/increase-rate-limit");
    expect(refused.headers["retry-after"]).toBeUndefined();
    expect(refused.headers["ratelimit-remaining"]).toBe("0;w=21600");
    expect((await manifest("1", later, "HEAD")).status).toBe(200);
    expect(hub.spent()).toBe(3);
    expect(hub.nextFreeAt()).toBe(now + 21_600_000);
    hub.advance(21_600_000 - 60_000);
    const after = await bearer();
    expect((await manifest("1", after)).status).toBe(200);
    expect((await manifest("1", after)).status).toBe(429);
    expect(hub.counts.charged.total).toBe(4);
    expect(hub.counts.manifestGets.total).toBe(6);
  });

  it("keeps a window for each account, and says nothing to those who pay", async () => {
    const free = await manifest("1", await bearer("library/app", "free"));
    expect(free.headers["ratelimit-remaining"]).toBe("4;w=21600");
    expect(free.headers["docker-ratelimit-source"]).toBe(uuidOf("free"));
    const paid = await manifest("1", await bearer("library/app", "paid"));
    expect(paid.headers["ratelimit-limit"]).toBeUndefined();
    expect(paid.headers["docker-ratelimit-source"]).toBe(uuidOf("paid"));
    expect(hub.remaining()).toBe(3);
    expect(hub.counts.charged.byAccount).toEqual({ free: 1, paid: 1 });
  });

  it("can be changed and spent by others while it runs", async () => {
    const headers = await bearer();
    hub.consume(2);
    expect((await manifest("1", headers, "HEAD")).headers["ratelimit-remaining"]).toBe("1;w=21600");
    hub.setLimit(10);
    expect((await manifest("1", headers, "HEAD")).headers["ratelimit-remaining"]).toBe("8;w=21600");
    hub.setLimit(1);
    expect((await manifest("1", headers)).status).toBe(429);
    hub.setLimit("unlimited");
    expect((await manifest("1", headers)).status).toBe(200);
  });

  it("has an abuse limit over all requests, in plain text", async () => {
    hub.abuse.limit = { requests: 2, seconds: 60 };
    await ask(`${hub.url}/v2/`);
    await ask(`${hub.url}/v2/`);
    const refused = await ask(`${hub.url}/v2/`);
    expect(refused.status).toBe(429);
    expect(refused.headers["content-type"]).toBe("text/plain");
    expect(refused.headers["retry-after"]).toBe("60");
    hub.bareAbuse = true;
    await expect(ask(`${hub.url}/v2/`)).rejects.toMatchObject({ code: expect.stringMatching(/^HPE_/) });
    hub.advance(60_000);
    expect((await ask(`${hub.url}/v2/`)).status).toBe(401);
  });
});

describe("content", () => {
  it("serves what was asked for, and linux/amd64 to a client that takes no index", async () => {
    hub.setLimit("unlimited");
    const headers = await bearer();
    const whole = await manifest("1", headers);
    expect(whole.headers["content-type"]).toBe(image.root.mediaType);
    expect(whole.body).toEqual(image.manifests.get(image.root.digest)?.bytes);
    const narrow = await manifest("1", {
      ...headers,
      accept: "application/vnd.oci.image.manifest.v1+json",
    });
    const amd64 = image.platforms.get("linux/amd64")?.manifest.digest;
    expect(narrow.headers["docker-content-digest"]).toBe(amd64);
    expect((await manifest("absent", headers)).status).toBe(404);
    expect((await manifest("1", headers, "POST")).status).toBe(405);
  });

  it("follows its tags: moved, deleted", async () => {
    hub.setLimit("unlimited");
    const headers = await bearer();
    const next = await buildImage({ seed: "next" });
    hub.push(next, "library/app", "2");
    hub.shelf.moveTag("library/app", "1", next.root.digest);
    expect((await manifest("1", headers)).headers["docker-content-digest"]).toBe(next.root.digest);
    hub.shelf.delete("library/app", "1");
    expect((await manifest("1", headers)).status).toBe(404);
    hub.shelf.delete("library/app", next.root.digest);
    expect((await manifest("2", headers)).status).toBe(404);
    expect((await manifest(image.root.digest, headers)).status).toBe(200);
  });

  it("redirects blobs to a CDN that takes no Authorization, one range, and only fresh addresses", async () => {
    const [digest = "", content] = [...image.blobs][1] ?? [];
    const size = content?.size ?? 0;
    const headers = await bearer();
    const redirect = await ask(`${hub.url}/v2/library/app/blobs/${digest}`, { headers });
    const location = redirect.headers.location ?? "";
    expect(redirect.status).toBe(307);
    expect(new URL(location).origin).toBe(hub.cdn.url);
    expect((await ask(location, { headers })).status).toBe(400);
    expect((await ask(location)).body).toHaveLength(size);
    const part = await ask(location, { headers: { range: "bytes=10-19" } });
    expect(part.status).toBe(206);
    expect(part.headers["content-range"]).toBe(`bytes 10-19/${size}`);
    expect(part.body).toHaveLength(10);
    expect((await ask(location, { headers: { range: "bytes=-5" } })).body).toHaveLength(5);
    expect((await ask(location, { headers: { range: `bytes=${size}-` } })).status).toBe(416);
    expect((await ask(location, { headers: { range: "bytes=0-1,4-5" } })).status).toBe(501);
    expect((await ask(`${location}x`)).status).toBe(403);
    hub.advance(1_200_000);
    expect((await ask(location)).status).toBe(403);
    expect(hub.counts.blobGets.byDigest).toEqual({ [digest]: 1 });
    expect(hub.counts.requests.filter((request) => request.headers.range !== undefined)).toHaveLength(4);
  });

  it("can serve blobs itself", async () => {
    hub.behaviour.redirect = false;
    const digest = image.platforms.get("linux/amd64")?.config.digest ?? "";
    const reply = await ask(`${hub.url}/v2/library/app/blobs/${digest}`, { headers: await bearer() });
    expect(reply.status).toBe(200);
    expect(reply.headers["docker-content-digest"]).toBe(digest);
  });

  it("lists tags in pages", async () => {
    for (const tag of ["3", "2", "4"]) {
      hub.push(image, "library/app", tag);
    }
    const headers = await bearer();
    const list = (query: string): Promise<Reply> =>
      ask(`${hub.url}/v2/library/app/tags/list${query}`, { headers });
    const first = await list("?n=3");
    expect(JSON.parse(first.body.toString())).toEqual({ name: "library/app", tags: ["1", "2", "3"] });
    expect(first.headers["link"]).toBe('</v2/library/app/tags/list?last=3&n=3>; rel="next"');
    const second = await list("?n=3&last=3");
    expect(JSON.parse(second.body.toString())).toMatchObject({ tags: ["4"] });
    expect(second.headers["link"]).toBeUndefined();
    const none = await list("?n=0");
    expect(JSON.parse(none.body.toString())).toMatchObject({ tags: [] });
    expect(none.headers["link"]).toBeUndefined();
  });

  it("lists referrers by the API, or by the tag schema when there is none", async () => {
    const signature = buildArtifact({ artifactType: "application/vnd.test.signature", subject: image.root });
    const sbom = buildArtifact({ artifactType: "application/vnd.test.sbom", subject: image.root });
    hub.push(signature, "library/app");
    hub.push(sbom, "library/app");
    const headers = { ...(await bearer()), ...everything };
    const list = (query = ""): Promise<Reply> =>
      ask(`${hub.url}/v2/library/app/referrers/${image.root.digest}${query}`, { headers });
    expect(digests(await list())).toEqual([signature.root.digest, sbom.root.digest].toSorted());
    const filtered = await list("?artifactType=application%2Fvnd.test.sbom");
    expect(digests(filtered)).toEqual([sbom.root.digest]);
    expect(filtered.headers["oci-filters-applied"]).toBe("artifactType");
    hub.behaviour.pageSize = 1;
    const page = await list();
    expect(digests(page)).toHaveLength(1);
    const next = /<(?<path>[^>]+)>; rel="next"/.exec(String(page.headers["link"]))?.groups?.["path"];
    expect(digests(await ask(`${hub.url}${next}`, { headers }))).toHaveLength(1);
    hub.behaviour.referrers = false;
    expect((await list()).status).toBe(404);
    const tag = image.root.digest.replace(":", "-");
    expect(digests(await manifest(tag, headers))).toHaveLength(2);
  });
});

describe("counting", () => {
  it("records every request and forgets on reset; challenges are not counted as requests for content", async () => {
    await manifest("1", {});
    const headers = await bearer();
    await manifest("1", headers);
    expect(hub.counts.requests.map(({ origin, method, status }) => [origin, method, status])).toEqual([
      ["registry", "GET", 401],
      ["token", "GET", 200],
      ["registry", "GET", 200],
    ]);
    expect(hub.counts.manifestGets.total).toBe(1);
    expect(hub.counts.tokenRequests).toEqual({
      total: 1,
      byScope: { "repository:library/app:pull": 1 },
    });
    hub.counts.reset();
    expect(hub.counts.requests).toEqual([]);
    expect(hub.counts.manifestGets.total).toBe(0);
    expect(hub.spent()).toBe(1);
  });

  it("refuses connections while down and comes back at the same port", async () => {
    const { url } = hub;
    await hub.registry.down();
    await expect(ask(`${url}/v2/`)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await hub.registry.up();
    expect((await ask(`${url}/v2/`)).status).toBe(401);
  });
});
