/** A Hubcap that cannot start says why to the test that started it. */
import { expect, it } from "vitest";
import { startHubcap } from "../../support/hubcap.ts";

it("rejects with what the process said", async () => {
  await expect(
    startHubcap({ config: { upstreams: { "docker.io": { url: "gopher://x" } } } }),
  ).rejects.toThrow(/ended with 78 .*upstreams\.docker\.io\.url/s);
});
