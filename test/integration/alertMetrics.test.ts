/** What alerts go by and no other test looks at: when an upstream's certificate ends, and how old stale answers are. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { ask } from "../support/ask.ts";
import { makeAuthority } from "../support/certificates.ts";
import { startHub } from "../support/hub.ts";
import { startHubcap, upstreamOf } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";

test("an upstream's certificate and a stale answer show in the metrics", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-test-ca-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const ca = join(folder, "ca.pem");
  const authority = makeAuthority();
  await writeFile(ca, authority.cert);
  // Certificates know no fractions of a second.
  const notAfter = Math.ceil(Date.now() / 1000) + 10 * 86_400;
  const hub = await startHub({
    tls: authority.issue({ names: ["localhost"], notAfter: new Date(notAfter * 1000) }),
    host: "localhost",
    limit: "unlimited",
  });
  onTestFinished(() => hub.stop());
  hub.push(await buildImage(), "library/app", "1");
  const hubcap = await startHubcap({
    config: { freshness: { tagTtl: "0s" }, upstreams: { "docker.io": upstreamOf(hub, { ca }) } },
  });
  onTestFinished(() => hubcap.dispose());
  const pull = async (): Promise<number> =>
    (await ask(`${hubcap.url}/v2/library/app/manifests/1?ns=docker.io`)).status;

  expect(await hubcap.metric("hubcap_upstream_certificate_expiry_seconds")).toBe(0);
  expect(await pull()).toBe(200);
  const labels = { upstream: "docker.io" };
  expect(await hubcap.metric("hubcap_upstream_certificate_expiry_seconds", labels)).toBe(notAfter);
  expect(await hubcap.metric("hubcap_stale_age_seconds_count", labels)).toBe(0);

  await hub.stop();
  expect(await pull()).toBe(200);
  expect(await hubcap.metric("hubcap_stale_age_seconds_count", labels)).toBe(1);
  expect(await hubcap.metric("hubcap_stale_age_seconds_bucket", { ...labels, le: "60" })).toBe(1);
});
