/** Cases R32 to R36: tags that moved, images that went or came, and tokens that end. */
import { Agent } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { buildImage } from "../../support/images.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const minute = 60_000;

let setup: Setup;

beforeEach(async () => {
  setup = await openSetup({ config: { freshness: { tagTtl: "5m" } } });
});
afterEach(() => setup.close());

/** Asks for a tag as `clients` clients at once; how often each digest, or each status but 200, was the answer. */
async function askTogether(clients: number, repository: string): Promise<Record<string, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 100 });
  const replies = await Promise.all(
    Array.from({ length: clients }, () => setup.manifest(repository, "1", { method: "HEAD", agent })),
  );
  agent.destroy();
  const answers: Record<string, number> = {};
  for (const { status, headers } of replies) {
    const said = status === 200 ? String(headers["docker-content-digest"]) : String(status);
    answers[said] = (answers[said] ?? 0) + 1;
  }
  return answers;
}

describe("a tag", () => {
  it("R32 is asked for once per TTL for 1000 clients, and a move is seen after it", async () => {
    const { repository, image } = await setup.push("library/moved");
    const next = await buildImage({ seed: "the next one" });
    const heads = (): number => setup.hub.counts.manifestHeads.total;
    expect(await askTogether(1000, repository)).toEqual({ [image.root.digest]: 1000 });
    expect(heads()).toBe(1);

    setup.hub.push(next, repository, "1");
    await setup.advance(4 * minute);
    expect(await askTogether(1000, repository)).toEqual({ [image.root.digest]: 1000 });
    expect(heads()).toBe(1);

    await setup.advance(1 * minute);
    expect(await askTogether(1000, repository)).toEqual({ [next.root.digest]: 1000 });
    expect(heads()).toBe(2);
    // A HEAD is enough: no client asked for the content.
    expect(setup.hub.counts.manifestGets.total).toBe(0);
  });

  it("R33 that is gone upstream is gone here, but not what it meant", async () => {
    const { repository, image } = await setup.push("library/gone");
    expect((await setup.manifest(repository, "1")).status).toBe(200);
    setup.hub.shelf.delete(repository, image.root.digest);
    await setup.advance(5 * minute);
    const gone = await setup.manifest(repository, "1");
    expect(gone.status).toBe(404);
    expect(gone.headers.warning).toBeUndefined();

    setup.hub.counts.reset();
    const pinned = await setup.manifest(repository, image.root.digest);
    expect(pinned.body).toEqual(image.manifests.get(image.root.digest)?.bytes);
    expect(setup.hub.counts.requests).toEqual([]);
  });

  it.for([401, 403])(
    "R33 that the upstream denies (%i) is not served stale, and again when it may",
    async (status) => {
      const { repository } = await setup.push("library/denied");
      expect((await setup.manifest(repository, "1")).status).toBe(200);
      await setup.advance(5 * minute);
      const denial = setup.hub.fault({ asks: "manifest", kind: "status", status });
      const denied = await setup.manifest(repository, "1");
      expect(denied.status).toBe(403);
      expect(denied.headers["www-authenticate"]).toBeUndefined();
      expect(await setup.hubcap.metric("hubcap_stale_served_total")).toBe(0);

      denial.remove();
      await setup.advance(10_000);
      expect((await setup.manifest(repository, "1")).status).toBe(200);
    },
  );

  it("R34 that was absent is seen 30 s later, and not asked for until then", async () => {
    await setup.push("library/late");
    const later = await buildImage({ seed: "pushed later" });
    expect((await setup.manifest("library/late", "2")).status).toBe(404);
    setup.hub.push(later, "library/late", "2");
    await setup.advance(29_000);
    setup.hub.counts.reset();
    for (const method of ["HEAD", "GET"]) {
      expect((await setup.manifest("library/late", "2", { method })).status).toBe(404);
    }
    expect(setup.hub.counts.requests).toEqual([]);

    await setup.advance(1000);
    const found = await setup.manifest("library/late", "2");
    expect(found.headers["docker-content-digest"]).toBe(later.root.digest);
  });
});

describe("a token", () => {
  it("R36 that ends in the middle of a pull is renewed once for 50 requests that were refused", async () => {
    const { repository } = await setup.push("library/token");
    const images = await Promise.all(
      Array.from({ length: 50 }, (_, n) => buildImage({ seed: `image ${n}` })),
    );
    for (const image of images) setup.hub.push(image, repository);
    expect((await setup.manifest(repository, "1")).status).toBe(200);
    expect(setup.hub.counts.tokenRequests.total).toBe(1);

    // As many as Hubcap sends at once for one address have shown the token, and the others are about to, when it ends.
    const hang = setup.hub.fault({ asks: "manifest", kind: "hang" });
    const asked = images.map(({ root }) => setup.manifest(repository, root.digest, { method: "HEAD" }));
    await hang.held(11);
    setup.hub.accounts.revokeAll();
    hang.release();
    const answers = await Promise.all(asked);
    expect(answers.map(({ status }) => status)).toEqual(images.map(() => 200));
    const refused = setup.hub.counts.requests.filter(
      ({ kind, status }) => kind === "manifest" && status === 401,
    );
    expect(refused.length).toBeGreaterThanOrEqual(11);
    expect(setup.hub.counts.tokenRequests.total).toBe(2);
  });

  it("R36 that is refused for ever is not renewed for ever", async () => {
    const { repository } = await setup.push("library/refused");
    const challenge = `Bearer realm="${setup.hub.behaviour.realm}",service="registry.docker.io"`;
    setup.hub.fault({
      asks: "manifest",
      kind: "status",
      status: 401,
      headers: { "www-authenticate": `${challenge},error="invalid_token"` },
    });
    const answers = await Promise.all(Array.from({ length: 50 }, () => setup.manifest(repository, "1")));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([403]));
    // As containerd repeats it: still no reason to ask.
    expect((await setup.manifest(repository, "1")).status).toBe(403);
    expect(setup.hub.counts.tokenRequests.total).toBeLessThanOrEqual(2);
    expect(setup.hub.counts.requests.filter(({ kind }) => kind === "manifest").length).toBeLessThanOrEqual(2);
  });
});
