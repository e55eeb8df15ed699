/** Alert webhooks of a running Hubcap: what they get about quota, upstreams, blobs and tags. */
import { open, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, onTestFinished } from "vitest";
import { ask } from "../support/ask.ts";
import { MovableClock } from "../support/clock.ts";
import { HookServer } from "../support/hook.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";

let hub: Hub;
let hook: HookServer;
let hubcap: Hubcap;

beforeEach(async () => {
  hub = await startHub({ limit: 3 });
  hook = await new HookServer().start();
});
afterEach(async () => {
  await hubcap.dispose();
  await hook.stop();
  await hub.stop();
});

/** What the webhook has got so far. */
const received = (): string[] =>
  hook.posted.map(({ body }) => {
    const { event, state, subject } = body as Record<string, string>;
    return `${event} ${state} ${subject}`;
  });

it("a quota that runs out is sent at once, and again when it is over", async () => {
  const urlFile = join(tmpdir(), `hubcap-hook-${process.pid}`);
  await writeFile(urlFile, `${hook.url}/s3cret\n`);
  const alerts = [{ urlFile, on: ["quota-low", "quota-exhausted"], minInterval: "0s" }];
  const clock = await MovableClock.make("both");
  onTestFinished(() => clock.dispose());
  const config = { alerts, upstreams: { "docker.io": upstreamOf(hub) } };
  hubcap = await startHubcap({ config, ...clock.start });
  for (const seed of ["a", "b", "c"]) {
    const image = await buildImage({ seed, single: true });
    hub.push(image, "library/app", seed);
    await ask(`${hubcap.url}/v2/library/app/manifests/${image.root.digest}`);
  }
  await expect.poll(received).toEqual(["quota-low firing docker.io", "quota-exhausted firing docker.io"]);
  const sixHours = 6 * 3600_000;
  hub.advance(sixHours);
  await clock.advance(hubcap, sixHours);
  await expect.poll(received).toContain("quota-exhausted resolved docker.io");
  expect(JSON.stringify(hubcap.logs())).not.toContain("s3cret");
  const sent = (): Promise<number> => hubcap.metric("hubcap_alert_messages_total", { result: "sent" });
  await expect.poll(sent).toBeGreaterThanOrEqual(3);
});

it("an upstream that is down, and tags that are served stale for that", async () => {
  const alerts = [{ url: `${hook.url}/s3cret`, on: ["upstream-down", "stale"], minInterval: "0s" }];
  const freshness = { tagTtl: "0s" };
  hubcap = await startHubcap({ config: { alerts, freshness, upstreams: { "docker.io": upstreamOf(hub) } } });
  const image = await buildImage({ seed: "down" });
  hub.push(image, "library/app", "1");
  await ask(`${hubcap.url}/v2/library/app/manifests/1`);
  const outage = hub.fault({ kind: "status", status: 503 });
  for (let count = 0; count < 6; count++) await ask(`${hubcap.url}/v2/library/app/manifests/1`);
  await expect
    .poll(() => received().toSorted())
    .toEqual(["stale firing docker.io", "upstream-down firing docker.io"]);
  outage.remove();
  const toldLater = async (): Promise<string[]> => {
    await ask(`${hubcap.url}/v2/library/app/manifests/1`);
    return received();
  };
  await expect.poll(toldLater, { interval: 500 }).toContain("upstream-down resolved docker.io");
  expect(JSON.stringify(hubcap.logs())).not.toContain("s3cret");
});

it("a blob that has rotted", async () => {
  const alerts = [{ url: hook.url, on: ["corrupt-blob"], format: "slack" }];
  hubcap = await startHubcap({ config: { alerts, upstreams: { "docker.io": upstreamOf(hub) } } });
  const image = await buildImage({ seed: "rot" });
  hub.push(image, "library/app", "1");
  const layer = image.platforms.get("linux/amd64")?.layers[0];
  const hex = layer?.digest.slice("sha256:".length) ?? "";
  await ask(`${hubcap.url}/v2/library/app/blobs/sha256:${hex}`);
  // While the fill runs, who asks joins it and gets its bytes, whatever becomes of the file.
  await expect.poll(() => hubcap.metric("hubcap_fills_running")).toBe(0);
  const file = await open(join(hubcap.root, "blobs/sha256", hex.slice(0, 2), hex), "r+");
  await file.truncate(10);
  await file.close();
  await ask(`${hubcap.url}/v2/library/app/blobs/sha256:${hex}`);
  await expect.poll(() => hook.posted).toHaveLength(1);
  expect(hook.posted[0]?.body).toEqual({ text: expect.stringMatching(/\*corrupt-blob\* of storage: /) });
});
