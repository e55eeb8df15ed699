/** A blob that no manifest names evicts no image, however long that was not used. */
import { afterEach, expect, it } from "vitest";
import { openReply } from "../../support/ask.ts";
import { patience } from "../../support/patience.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { openSetup, type Setup } from "../../support/setup.ts";

const mib = 1024 * 1024;
const images = Array.from({ length: 6 }, (_, number) => `library/app-${number}`);

let setup: Setup | undefined;

afterEach(() => setup?.close());

it("evicts none of six images for a large blob whose client leaves after the headers", async () => {
  const opened = await openSetup({ config: { storage: { capacity: "100MiB" } } });
  setup = opened;
  const pull = async (repository: string): Promise<void> => {
    const { errors } = await pullLikeContainerd({
      mirror: opened.hubcap.url,
      ns: "docker.io",
      repository,
      reference: "1",
    });
    expect(errors).toEqual([]);
  };
  const options = { layers: 1, layerBytes: 12 * mib, platforms: ["linux/amd64"] };
  for (const name of images) await opened.push(name, options);
  for (const name of images) await pull(name);
  // Within ten minutes of its use, nothing is evicted in any case.
  await opened.advance(11 * 60_000);
  const large = await opened.push("library/large", { ...options, layerBytes: 90 * mib });
  const reply = await openReply(opened.blobUrl(large));
  expect(reply.statusCode).toBe(200);
  reply.destroy();
  await expect.poll(() => opened.hubcap.metric("hubcap_fills_running"), patience).toBe(0);
  opened.hub.counts.reset();
  for (const name of images) await pull(name);
  expect(opened.hub.counts.charged.total).toBe(0);
  expect(opened.hub.counts.blobGets.total).toBe(0);
});
