/** Where a registry in one's own network may redirect: to its storage there, but not to what listens beside Hubcap. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { ask } from "../../support/ask.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, type Hubcap } from "../../support/hubcap.ts";

let hub: Hub;
let hubcap: Hubcap;
const missing = `sha256:${"7".repeat(64)}`;

beforeAll(async () => {
  hub = await startHub({ auth: "none", limit: "unlimited" });
  // "localhost" is configured, 127.0.0.1 is not.
  const url = hub.url.replace("127.0.0.1", "localhost");
  hubcap = await startHubcap({
    config: { upstreams: { "docker.io": { url, tokenRealms: [url], allowPrivateAddresses: true } } },
  });
});

afterAll(async () => {
  await hubcap.dispose();
  await hub.stop();
});

afterEach(() => hub.faults.clear());

test.each([
  ["the status listener", () => `${hubcap.statusUrl}/metrics`],
  ["the status listener by 0.0.0.0", () => `${hubcap.statusUrl.replace("127.0.0.1", "0.0.0.0")}/metrics`],
  ["a cloud's metadata", () => "http://169.254.169.254/latest/meta-data/iam/security-credentials/"],
  ["a cloud's metadata by IPv6", () => "http://[fd00:ec2::254]/latest/meta-data/"],
  ["a neighbour on the link", () => "http://[fe80::1]/"],
])("a redirect to %s is refused, and not dialled", async (_, location) => {
  hub.fault({ asks: "blob", kind: "status", status: 307, headers: { location: location() } });
  const { status, body } = await ask(`${hubcap.url}/v2/library/app/blobs/${missing}`);
  expect([status, body.toString()]).toEqual([502, expect.stringContaining("private-address")]);
});

test("a redirect to a host that is configured is followed", async () => {
  const location = `${hub.url.replace("127.0.0.1", "localhost")}/nothing-here`;
  hub.fault({ asks: "blob", kind: "status", status: 307, headers: { location } });
  expect((await ask(`${hubcap.url}/v2/library/app/blobs/${missing}`)).status).not.toBe(502);
});
