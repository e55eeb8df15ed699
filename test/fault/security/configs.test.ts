/** What Hubcap reads of images to judge them is little at any time, however many large configs come in slowly. */
import { Agent } from "node:http";
import { afterEach, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { bytesContent, digestOf } from "../../support/content.ts";
import { startHub, type Hub } from "../../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../../support/hubcap.ts";
import { buildImage } from "../../support/images.ts";
import { patience } from "../../support/patience.ts";
import { bearable, underAttack } from "../../support/underAttack.ts";

const manifestType = "application/vnd.oci.image.manifest.v1+json";
const mebibyte = 1024 * 1024;

let hub: Hub | undefined;
let hubcap: Hubcap | undefined;

afterEach(async () => {
  await hubcap?.dispose();
  await hub?.stop();
});

/** Pushes an image whose config has almost 4 MiB, the most that is read of one; that config's digest. */
function pushLarge(hub: Hub, repository: string): string {
  const filler = "x".repeat(4 * mebibyte - 1000);
  const bytes = Buffer.from(JSON.stringify({ created: "2020-01-01T00:00:00Z", repository, filler }));
  const digest = digestOf(bytes);
  const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest, size: bytes.length };
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: manifestType, config, layers: [] }),
  );
  const root = { mediaType: manifestType, digest: digestOf(manifest), size: manifest.length };
  const manifests = new Map([[root.digest, { mediaType: manifestType, bytes: manifest }]]);
  hub.push({ root, manifests, blobs: new Map([[digest, bytesContent(bytes)]]) }, repository, "1");
  return digest;
}

const image = (name: string) => buildImage({ seed: name, platforms: ["linux/amd64"] });

it("holds little of 64 configs of 4 MiB that stop short of their end, and judges other images meanwhile", async () => {
  const opened = await startHub({ limit: "unlimited" });
  hub = opened;
  const policy = { rules: [{ match: ["**"], minAge: "1d" }] };
  const started = await startHubcap({ config: { upstreams: { "docker.io": upstreamOf(opened) }, policy } });
  hubcap = started;
  const pull = (repository: string, agent?: Agent) =>
    ask(`${started.url}/v2/${repository}/manifests/1`, { ...(agent && { agent }), headerTimeout: 60_000 });
  opened.push(await image("held"), "library/held", "1");
  expect((await pull("library/held")).status).toBe(200);
  const names = Array.from({ length: 64 }, (_, number) => `evil/app-${number}`);
  const pulls: Promise<unknown>[] = [];
  const noticed = await underAttack(
    started,
    async () => expect((await pull("library/held")).status).toBe(200),
    async () => {
      for (const [number, name] of names.entries()) {
        opened.fault({
          origin: "cdn",
          digest: pushLarge(opened, name),
          kind: "stall",
          after: 4 * mebibyte - 128 * 1024,
        });
        const agent = new Agent({ localAddress: `127.0.9.${number % 16}` });
        pulls.push(pull(name, agent).catch(() => {}));
      }
      await expect
        .poll(() => started.metric("hubcap_fetched_bytes_total"), patience)
        .toBeGreaterThan(32 * 3.5 * mebibyte);
      opened.push(await image("new"), "library/new", "1");
      expect((await pull("library/new")).status).toBe(200);
    },
    1000,
  );
  expect(noticed.p99).toBeLessThan(bearable.p99);
  expect(noticed.rssGrowth).toBeLessThan(bearable.rssGrowth);
  // All is over once the upstream goes on.
  opened.faults.clear();
  await Promise.all(pulls);
}, 120_000);
