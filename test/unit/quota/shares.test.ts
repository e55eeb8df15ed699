/** A client's share of a window: off unless configured, and without effect on other clients. */
import { expect, test } from "vitest";
import { QuotaError, type Reason } from "../../../src/quota/quota.ts";
import { knownLimits } from "../../../src/quota/limits.ts";
import { requestOf, windowMs, World } from "./world.ts";

async function open(perClient?: number) {
  const world = new World({ limit: 20, hasHeaders: true });
  const restart = () =>
    world.start({
      preset: { guard: knownLimits("quay.io", false).guard },
      ...(perClient !== undefined && { perClient }),
    });
  await restart();
  const pull = async (client: string, fate: "counted" | "released" = "counted"): Promise<boolean> => {
    const asked = requestOf("manifest-get", "pull", client);
    if (world.account.balance.verdict(asked) !== "now") return false;
    const reservation = world.account.reserve(asked);
    await world.account.begin(reservation);
    if (fate === "released") world.account.release(reservation);
    else world.account.answered(reservation, { status: 200, headers: {} });
    world.time += 1000;
    return true;
  };
  const pulls = async (client: string, most = 20): Promise<number> => {
    let count = 0;
    while (count < most && (await pull(client))) count += 1;
    return count;
  };
  const verdict = (client: string, reason: Reason = "pull") =>
    world.account.balance.verdict(requestOf("manifest-get", reason, client));
  return { world, pull, pulls, verdict, restart };
}

test.each([
  [undefined, 20],
  [0.25, 5],
  [0.01, 1],
  [1, 20],
])("with a share of %s, one client may spend %i of 20 pulls", async (share, expected) => {
  const { pulls } = await open(share);
  expect(await pulls("node-1")).toBe(expected);
});

test("a client that has spent its share is refused, others are not, and what costs nothing is still sent", async () => {
  const { world, pulls, verdict } = await open(0.25);
  await pulls("node-1");
  const refused = verdict("node-1");
  expect(refused).toBeInstanceOf(QuotaError);
  expect(refused).toMatchObject({
    kind: "share",
    retryAfter: windowMs / 1000 - 5,
    message: expect.stringMatching(/^node-1 has spent its share of docker\.io: 5 of 20 pulls in 1 min/),
  });
  expect(verdict("node-1", "revalidate")).toMatchObject({ kind: "share" });
  expect(world.account.balance.verdict(requestOf("manifest-head", "pull", "node-1"))).toBe("now");
  expect(await pulls("node-2")).toBe(5);
});

test("a share comes back as it was spent, and what was not sent does not count", async () => {
  const { world, pull, pulls } = await open(0.25);
  for (let turn = 0; turn < 10; turn += 1) expect(await pull("node-1", "released")).toBe(true);
  expect(await pulls("node-1")).toBe(5);
  world.time += windowMs - 3000;
  expect(await pulls("node-1", 5)).toBeGreaterThan(0);
});

test("a restart gives no client a second share, and refuses none for longer", async () => {
  const { world, pulls, restart } = await open(0.25);
  expect(await pulls("node-1")).toBe(5);
  expect(await pulls("node-2", 2)).toBe(2);
  await restart();
  expect(await pulls("node-1")).toBe(0);
  expect(await pulls("node-2")).toBe(3);
  world.time += windowMs + 1;
  expect(await pulls("node-1")).toBe(5);
});
