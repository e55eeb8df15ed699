/** The stand-in runs as a process of its own and takes orders. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { startHubProcess, type HubProcess } from "../../support/hubProcess.ts";

let hub: HubProcess;

beforeAll(async () => {
  hub = await startHubProcess("--limit", "30", "--account", "free:secret:50");
});

afterAll(() => hub.stop());

it("serves what is pushed to it, and lists what was requested", async () => {
  const root = await hub.order("push", { repository: "library/app", tag: "1", image: { seed: "process" } });
  const scope = "repository:library/app:pull";
  const reply = await ask(`${hub.addresses.token}/token?scope=${scope}`);
  const { token } = JSON.parse(reply.body.toString()) as { token: string };
  const manifest = await ask(`${hub.addresses.registry}/v2/library/app/manifests/1`, {
    headers: { accept: "*/*", authorization: `Bearer ${token}` },
  });
  expect(manifest.headers["docker-content-digest"]).toBe(root.digest);
  expect(manifest.headers["ratelimit-remaining"]).toBe("29;w=21600");
  expect(await hub.order("consume", { pulls: 4 })).toEqual({ remaining: 25 });
  expect(await hub.order("limit", { limit: 10 })).toEqual({ remaining: 5 });
  expect(await hub.order("counts", {})).toMatchObject({
    requests: 2,
    tokenRequests: 1,
    charged: { total: 1, byDigest: { [root.digest]: 1 } },
  });
  await hub.order("reset", {});
  expect(await hub.order("counts", {})).toMatchObject({ requests: 0 });
});

it("takes faults, and refuses orders that it does not know", async () => {
  await hub.order("fault", { path: "^/v2/$", kind: "status", status: 503 });
  expect((await ask(`${hub.addresses.registry}/v2/`)).status).toBe(503);
  await hub.order("clear", {});
  expect((await ask(`${hub.addresses.registry}/v2/`)).status).toBe(401);
  const unknown = await ask(`${hub.addresses.control}/explode`, { method: "POST" });
  expect(unknown.status).toBe(400);
});
