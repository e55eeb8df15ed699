/** Faults.md R32 to R36: tags that moved, images that went or came, and tokens that end. */
import { Agent } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { buildImage } from "../../support/images.ts";
import { openHouse, type House } from "../../support/setup.ts";

const minute = 60_000;

let house: House;

beforeEach(async () => {
  house = await openHouse({ config: { freshness: { tagTtl: "5m" } } });
});
afterEach(() => house.close());

/** Asks for a tag as `clients` clients at once; how often each digest, or each status but 200, was the answer. */
async function askTogether(clients: number, repository: string): Promise<Record<string, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: 100 });
  const replies = await Promise.all(
    Array.from({ length: clients }, () => house.manifest(repository, "1", { method: "HEAD", agent })),
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
    const { repository, image } = await house.push("library/moved");
    const next = await buildImage({ seed: "the next one" });
    const heads = (): number => house.hub.counts.manifestHeads.total;
    expect(await askTogether(1000, repository)).toEqual({ [image.root.digest]: 1000 });
    expect(heads()).toBe(1);

    house.hub.push(next, repository, "1");
    await house.advance(4 * minute);
    expect(await askTogether(1000, repository)).toEqual({ [image.root.digest]: 1000 });
    expect(heads()).toBe(1);

    await house.advance(1 * minute);
    expect(await askTogether(1000, repository)).toEqual({ [next.root.digest]: 1000 });
    expect(heads()).toBe(2);
    // A HEAD tells it all: nobody asked for the content.
    expect(house.hub.counts.manifestGets.total).toBe(0);
  });

  it("R33 that is gone upstream is gone here, but not what it meant", async () => {
    const { repository, image } = await house.push("library/gone");
    expect((await house.manifest(repository, "1")).status).toBe(200);
    house.hub.shelf.delete(repository, image.root.digest);
    await house.advance(5 * minute);
    const gone = await house.manifest(repository, "1");
    expect(gone.status).toBe(404);
    expect(gone.headers.warning).toBeUndefined();

    house.hub.counts.reset();
    const pinned = await house.manifest(repository, image.root.digest);
    expect(pinned.body).toEqual(image.manifests.get(image.root.digest)?.bytes);
    expect(house.hub.counts.requests).toEqual([]);
  });

  it.for([401, 403])(
    "R33 that the upstream denies (%i) is not served stale, and again when it may",
    async (status) => {
      const { repository } = await house.push("library/denied");
      expect((await house.manifest(repository, "1")).status).toBe(200);
      await house.advance(5 * minute);
      const denial = house.hub.fault({ asks: "manifest", kind: "status", status });
      const denied = await house.manifest(repository, "1");
      expect(denied.status).toBe(403);
      expect(denied.headers["www-authenticate"]).toBeUndefined();
      expect(await house.hubcap.metric("hubcap_stale_served_total")).toBe(0);

      denial.remove();
      await house.advance(10_000);
      expect((await house.manifest(repository, "1")).status).toBe(200);
    },
  );

  it("R34 that was absent is seen 30 s later, and not asked for until then", async () => {
    await house.push("library/late");
    const later = await buildImage({ seed: "pushed later" });
    expect((await house.manifest("library/late", "2")).status).toBe(404);
    house.hub.push(later, "library/late", "2");
    await house.advance(29_000);
    house.hub.counts.reset();
    for (const method of ["HEAD", "GET"]) {
      expect((await house.manifest("library/late", "2", { method })).status).toBe(404);
    }
    expect(house.hub.counts.requests).toEqual([]);

    await house.advance(1000);
    const found = await house.manifest("library/late", "2");
    expect(found.headers["docker-content-digest"]).toBe(later.root.digest);
  });
});

describe("a token", () => {
  it("R36 that ends in the middle of a pull is renewed once for 50 requests that were refused", async () => {
    const { repository } = await house.push("library/token");
    const images = await Promise.all(
      Array.from({ length: 50 }, (_, n) => buildImage({ seed: `image ${n}` })),
    );
    for (const image of images) house.hub.push(image, repository);
    expect((await house.manifest(repository, "1")).status).toBe(200);
    expect(house.hub.counts.tokenRequests.total).toBe(1);

    // As many as Hubcap sends at once have shown the token, and the others are about to, when it ends.
    const hang = house.hub.fault({ asks: "manifest", kind: "hang" });
    const asked = images.map(({ root }) => house.manifest(repository, root.digest, { method: "HEAD" }));
    await hang.held(16);
    house.hub.accounts.revokeAll();
    hang.release();
    const answers = await Promise.all(asked);
    expect(answers.map(({ status }) => status)).toEqual(images.map(() => 200));
    const refused = house.hub.counts.requests.filter(
      ({ kind, status }) => kind === "manifest" && status === 401,
    );
    expect(refused.length).toBeGreaterThanOrEqual(16);
    expect(house.hub.counts.tokenRequests.total).toBe(2);
  });

  it("R36 that is refused for ever is not renewed for ever", async () => {
    const { repository } = await house.push("library/refused");
    const challenge = `Bearer realm="${house.hub.behaviour.realm}",service="registry.docker.io"`;
    house.hub.fault({
      asks: "manifest",
      kind: "status",
      status: 401,
      headers: { "www-authenticate": `${challenge},error="invalid_token"` },
    });
    const answers = await Promise.all(Array.from({ length: 50 }, () => house.manifest(repository, "1")));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([403]));
    // As containerd repeats it: still no reason to ask.
    expect((await house.manifest(repository, "1")).status).toBe(403);
    expect(house.hub.counts.tokenRequests.total).toBeLessThanOrEqual(2);
    expect(house.hub.counts.requests.filter(({ kind }) => kind === "manifest").length).toBeLessThanOrEqual(2);
  });
});
