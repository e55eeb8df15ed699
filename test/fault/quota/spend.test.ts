/** Spending by client: the status API's sums are those of the stand-in, however a request ended. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { inTurns, openFleet, type Fleet } from "../../support/fleet.ts";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await openFleet({ hub: { limit: 100 } });
});

afterAll(() => fleet.close());

async function totalOf(by: "client" | "repository" | "reason"): Promise<number> {
  return (await fleet.spent(by)).reduce((sum, { spent }) => sum + spent, 0);
}

test("each pull is the account of the node that made it, and what is held costs no one", async () => {
  const { hub } = fleet;
  for (const name of ["one", "two", "three"]) await fleet.push(`library/${name}`);
  const well = async (node: string, repository: string, platform = "linux/amd64"): Promise<void> => {
    expect((await fleet.pull(node, repository, { platform })).errors).toEqual([]);
  };
  await well("node-a", "library/one");
  await well("node-a", "library/two");
  await well("node-b", "library/one");
  await well("node-b", "library/one", "linux/arm64");
  // Without a name it is the address, and what is not a name is not believed.
  expect((await fleet.pull("-- not a name --", "library/three")).errors).toEqual([]);
  expect(await fleet.spent("client")).toEqual([
    { key: "node-a", spent: 4 },
    { key: "127.0.0.1", spent: 2 },
    { key: "node-b", spent: 1 },
  ]);
  expect(await fleet.spent("repository")).toEqual([
    { key: "docker.io/library/one", spent: 3 },
    { key: "docker.io/library/three", spent: 2 },
    { key: "docker.io/library/two", spent: 2 },
  ]);
  expect(await fleet.spent("reason")).toEqual([{ key: "pull", spent: 7 }]);
  expect(hub.counts.charged.total).toBe(7);
});

test("a herd of nodes, absent images and a crash: the sum is what the stand-in counted", async () => {
  const { hub } = fleet;
  const repositories = Array.from({ length: 8 }, (_, number) => `herd/app-${number}`);
  for (const repository of repositories) await fleet.push(repository);
  const pulls = Array.from({ length: 80 }, (_, number) => number);
  await inTurns(pulls, 40, (number) => fleet.pull(`node-${number}`, repositories[number % 8] ?? ""));
  // Docker Hub counts what it does not have as well, so a digest that nothing names is asked for by HEAD first.
  expect((await fleet.manifest("herd/app-0", `sha256:${"0".repeat(64)}`)).status).toBe(404);
  expect(hub.counts.charged.total).toBe(7 + 16);
  expect(await totalOf("client")).toBe(hub.counts.charged.total);
  expect(await totalOf("repository")).toBe(hub.counts.charged.total);
  expect(await totalOf("reason")).toBe(hub.counts.charged.total);

  await fleet.crash();
  await fleet.push("herd/after");
  expect((await fleet.pull("node-a", "herd/after")).errors).toEqual([]);
  expect(await totalOf("client")).toBe(hub.counts.charged.total);
  expect((await fleet.spent("client"))[0]).toEqual({ key: "node-a", spent: 6 });
});

test("what was refused by the stand-in was not counted, and is not in the sum", async () => {
  const { hub } = fleet;
  const image = await fleet.push("library/late");
  const before = await totalOf("client");
  await fleet.head("library/late").digest;
  hub.consume(100);
  expect((await fleet.manifest("library/late", image.root.digest)).status).toBe(429);
  expect(hub.counts.manifestGets.total).toBe(hub.counts.charged.total + 1);
  expect(await totalOf("client")).toBe(before);
  expect(before).toBe(hub.counts.charged.total);
});
