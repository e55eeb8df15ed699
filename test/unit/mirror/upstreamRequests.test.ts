/** Who is asked first when a client wants what is being asked ahead, and how often in all. */
import { expect, test } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { UpstreamRequests, PromotedError, type SharedRequest } from "../../../src/mirror/upstreamRequests.ts";
import { UpstreamError } from "../../../src/upstream/error.ts";
import type { RequestOptions } from "../../../src/upstream/registry.ts";
import { pullOf } from "../../support/pullContext.ts";
import { shelf, ShelfUpstream } from "../../support/shelfUpstream.ts";

/** Questions whose answers `send` gives, and the reasons of those that were sent. */
function setUp(send: (asked: RequestOptions) => Promise<string>) {
  const requests = new UpstreamRequests(new AbortController().signal, systemClock);
  const upstream = new ShelfUpstream();
  const sent: string[] = [];
  const request: SharedRequest<string> = {
    about: "manifest docker.io/library/nginx:1",
    want: "content",
    send: (asked) => {
      sent.push(asked.purpose.reason);
      return send(asked);
    },
  };
  return {
    sent,
    warm: () => requests.share(request, pullOf(upstream, shelf(0), { warm: true })),
    pull: () => requests.share(request, pullOf(upstream, shelf(0))),
  };
}

/** Stands in line until it is promoted. */
function inLine({ purpose: { promoted } }: RequestOptions): Promise<string> {
  return new Promise((_, reject) => promoted?.addEventListener("abort", () => reject(promoted.reason)));
}

test("what stands in line leaves it, and the client asks at its own right, once for all", async () => {
  const { warm, pull, sent } = setUp((asked) =>
    asked.purpose.reason === "warm" ? inLine(asked) : Promise.resolve("it"),
  );
  const warmed = warm().catch((error: unknown) => error);
  expect(await Promise.all([pull(), pull()])).toEqual(["it", "it"]);
  expect(await warmed).toBeInstanceOf(PromotedError);
  expect(sent).toEqual(["warm", "pull"]);
});

test("what was sent already is waited for: it is spent once", async () => {
  const answer = Promise.withResolvers<string>();
  const { warm, pull, sent } = setUp(() => answer.promise);
  const all = [warm(), pull(), warm()];
  answer.resolve("it");
  expect(await Promise.all(all)).toEqual(["it", "it", "it"]);
  expect(sent).toEqual(["warm"]);
});

test("that there is nothing left for warming is no answer for a client", async () => {
  const gate = Promise.withResolvers<void>();
  const { warm, pull, sent } = setUp(async ({ purpose }) => {
    if (purpose.reason === "pull") return "it";
    await gate.promise;
    throw new UpstreamError("limited", "what is left is kept for clients");
  });
  const warmed = warm().catch((error: unknown) => error);
  const pulled = pull();
  gate.resolve();
  expect(await pulled).toBe("it");
  expect(await warmed).toBeInstanceOf(UpstreamError);
  expect(sent).toEqual(["warm", "pull"]);
});

test("any other answer is the client's too", async () => {
  const { warm, pull, sent } = setUp(async () => {
    await new Promise(setImmediate);
    throw new UpstreamError("absent", "there is no such image");
  });
  const all = await Promise.allSettled([warm(), pull()]);
  expect(all.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect(sent).toEqual(["warm"]);
});
