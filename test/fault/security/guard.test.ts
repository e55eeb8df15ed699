/** Requests to an upstream are few at once and few in a minute: no client takes those that others need. */
import { Agent } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { pullLikeContainerd } from "../../support/pull.ts";

let hub: Hub;
let hubcap: Hubcap;
const agents: Agent[] = [];

beforeEach(async () => {
  hub = await startHub({ limit: 10_000 });
  hubcap = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(hub) } } });
});

afterEach(async () => {
  hub.faults.clear();
  for (const agent of agents.splice(0)) agent.destroy();
  await hubcap.dispose();
  await hub.stop();
});

/** Requests of all `paths` at once from one address. Whatever comes back is fine. */
function attack(from: string, paths: readonly string[], method = "GET"): Promise<unknown> {
  const agent = new Agent({ localAddress: from, keepAlive: true });
  agents.push(agent);
  return Promise.all(
    paths.map((path, number) =>
      ask(`${hubcap.url}/v2/${path}`, {
        method,
        agent,
        headers: { "x-hubcap-node": `made-up-${number % 20}` },
        headerTimeout: 60_000,
      }).catch(() => {}),
    ),
  );
}

async function bucket(): Promise<{ inFlight: number; waiting: number }> {
  const { upstreams } = (await hubcap.status("/api/v1/quota")) as {
    upstreams: { inFlight: number; waiting: number }[];
  };
  return upstreams[0] ?? { inFlight: 0, waiting: 0 };
}

/** Settles when the attackers' requests wait, and none has been sent for a second. */
async function expectExhausted(): Promise<void> {
  let seen = 0;
  let since = performance.now();
  const isOver = async (): Promise<boolean> => {
    const { inFlight, waiting } = await bucket();
    const { length } = hub.counts.requests;
    if (length !== seen || inFlight > 0 || waiting < 100) since = performance.now();
    seen = length;
    return performance.now() - since > 1000;
  };
  await expect.poll(isOver, { timeout: 60_000 }).toBe(true);
}

/** What others are about to pull: the paths of its manifests, and its digests. */
interface Wanted {
  readonly manifests: readonly string[];
  readonly blobs: readonly string[];
}

/** Cold pulls of others, each from an address of its own, all at once. `before` runs once all is there to be pulled. */
async function expectOthersPull(
  count: number,
  before: (wanted: Wanted) => Promise<void> = async () => {},
): Promise<void> {
  const names = Array.from({ length: count }, (_, number) => `library/cold-${number}`);
  const blobs: string[] = [];
  const manifests: string[] = [];
  for (const name of names) {
    const image = await buildImage({ seed: name, platforms: ["linux/amd64"] });
    hub.push(image, name, "1");
    blobs.push(...image.blobs.keys());
    for (const reference of ["1", ...image.manifests.keys()])
      manifests.push(`${name}/manifests/${reference}`);
  }
  await before({ manifests, blobs });
  const started = performance.now();
  const pulls = await Promise.all(
    names.map((repository, number) =>
      pullLikeContainerd({
        mirror: hubcap.url,
        repository,
        reference: "1",
        from: `127.0.8.${number + 1}`,
        attempts: 1,
      }),
    ),
  );
  const took = Math.round(performance.now() - started);
  if (process.env["PRINT_ATTACKS"])
    process.stdout.write(
      `${count} cold pulls of others: ${took} ms, ${hub.counts.requests.length} requests in all\n`,
    );
  expect(pulls.flatMap(({ errors }) => errors)).toEqual([]);
  // A request that had to wait for a place or for a minute to pass would take longer.
  expect(took).toBeLessThan(10_000);
}

test("64 requests of one address that are not answered keep no pull of another waiting", async () => {
  hub.fault({ asks: "manifest", path: /^\/v2\/evil\//, kind: "hang" });
  const names = Array.from({ length: 64 }, (_, number) => `evil/slow-${number}/manifests/1`);
  const attacking = attack("127.0.9.9", names);
  // Not all of what is under way is an attacker's.
  await expect.poll(async () => (await bucket()).inFlight).toBeGreaterThan(8);
  await expect.poll(async () => (await bucket()).waiting).toBeGreaterThan(40);
  await expectOthersPull(4);
  hub.faults.clear();
  await attacking;
}, 120_000);

test("guesses from 32 addresses at once leave requests for repositories that nobody has asked for before", async () => {
  const attacking = Array.from({ length: 32 }, (_, address) =>
    attack(
      `127.0.9.${address + 1}`,
      Array.from({ length: 60 }, (_, number) => `evil/none-${address}-${number}/manifests/1`),
    ),
  );
  await expectExhausted();
  await expectOthersPull(16);
  await Promise.all(attacking);
}, 120_000);

test("what those who guess ask for and must wait for, others get at once", async () => {
  const attacking = Array.from({ length: 32 }, (_, address) =>
    attack(
      `127.0.9.${address + 1}`,
      Array.from({ length: 60 }, (_, number) => `evil/none-${address}-${number}/manifests/1`),
    ),
  );
  await expectExhausted();
  await expectOthersPull(8, async ({ manifests, blobs }) => {
    const { waiting } = await bucket();
    attacking.push(
      attack("127.0.9.1", manifests),
      attack(
        "127.0.9.2",
        blobs.map((digest) => `evil/blobs/blobs/${digest}`),
      ),
      attack(
        "127.0.9.3",
        Array.from({ length: 8 }, (_, number) => `library/cold-${number}/manifests/none`),
      ),
    );
    // One for each repository: the others wait for its token.
    await expect.poll(async () => (await bucket()).waiting).toBeGreaterThan(waiting + 7);
  });
  await Promise.all(attacking);
}, 120_000);

test("one address that asks for 1,200 tags which exist leaves requests for others", async () => {
  const image = await buildImage({ seed: "many" });
  const tags = Array.from({ length: 1200 }, (_, number) => `tag-${number}`);
  for (const tag of tags) hub.push(image, "library/many", tag);
  const attacking = attack(
    "127.0.9.9",
    tags.map((tag) => `library/many/manifests/${tag}`),
    "HEAD",
  );
  await expectExhausted();
  await expectOthersPull(8);
  await attacking;
}, 120_000);
