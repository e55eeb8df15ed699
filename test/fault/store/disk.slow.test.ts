/** Cases R20-R23: a disk that is full, fills up, or cannot be written: hits go on, the rest passes through, all recovers. */
import { execFileSync } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ask } from "../../support/ask.ts";
import { pullLikeContainerd } from "../../support/pull.ts";
import { withSmallDisk, type SmallDisk } from "../../support/smallDisk.ts";
import { whole } from "../../support/reader.ts";
import { openSetup, type Setup, type Pushed } from "../../support/setup.ts";

const mib = 1024 * 1024;

let disk: SmallDisk;
let setup: Setup;
let held: Pushed;

const ballast = (): string => join(disk.folder, "ballast");

/** Takes what is left of the disk, but for `spare` bytes. */
async function takeAll(spare: number): Promise<void> {
  await rm(ballast(), { force: true });
  const free = Number(
    execFileSync("df", ["--output=avail", "-B1", disk.folder]).toString().split("\n")[1] ?? Number.NaN,
  );
  await writeFile(ballast(), Buffer.alloc(Math.max(0, free - spare))).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  });
}

const readiness = async (): Promise<[number, string]> => {
  const { status, body } = await ask(`${setup.hubcap.statusUrl}/readyz`);
  return [status, body.toString()];
};

const full: [number, string] = [200, "degraded: the disk is full\n"];
const well: [number, string] = [200, "ok\n"];

async function pulled(pushed: Pushed): Promise<void> {
  const { errors, digests } = await pullLikeContainerd({
    mirror: setup.hubcap.url,
    ns: "docker.io",
    repository: pushed.repository,
    reference: "1",
  });
  expect(errors).toEqual([]);
  expect(digests).toContain(pushed.layer.digest);
}

/** What is held is served, and nothing is asked for it but what its tag means. */
async function hitsGoOn(): Promise<void> {
  setup.hub.counts.reset();
  await pulled(held);
  expect([setup.hub.counts.blobGets.total, setup.hub.counts.manifestGets.total]).toEqual([0, 0]);
}

/** A pull is stored again: the second one asks for nothing. */
async function stored(pushed: Pushed): Promise<void> {
  await pulled(pushed);
  await expect
    .poll(async () => {
      setup.hub.counts.reset();
      await pulled(pushed);
      return setup.hub.counts.blobGets.total;
    })
    .toBe(0);
}

const bypassed = (reason: string): Promise<number> => setup.hubcap.metric("hubcap_bypass_total", { reason });

withSmallDisk("48m", (mount) => {
  beforeEach(async () => {
    disk = mount();
    setup = await openSetup({
      config: {
        storage: { root: join(disk.folder, "storage"), minFree: "8MiB" },
        // A tag is asked for each time, so that every pull wants to write to the catalog.
        freshness: { tagTtl: "0s" },
        quota: {},
      },
      upstream: { quota: { limit: 1_000_000, window: "6h", minInterval: "0s" } },
    });
    held = await setup.pushLayer("library/held", mib);
    await stored(held);
  });
  afterEach(async () => {
    await setup.close();
    disk.unmount();
  });

  it("R21 without space for blobs passes them through, and stores them again when there is space", async () => {
    const fresh = await setup.pushLayer("library/fresh", 2 * mib);
    await takeAll(6 * mib);
    await pulled(fresh);
    expect(await bypassed("full")).toBeGreaterThan(0);
    await expect.poll(readiness).toEqual(full);
    expect(await setup.hubcap.metric("hubcap_storage_degraded", { reason: "full" })).toBe(1);
    await hitsGoOn();
    await pulled(fresh);
    await rm(ballast());
    await expect.poll(readiness).toEqual(well);
    await stored(fresh);
  });

  it("R21 with space, but not for this blob, passes it through and is well", async () => {
    const large = await setup.pushLayer("library/large", 40 * mib);
    expect(await setup.read(large).ended).toEqual(whole(large.bytes));
    expect(await bypassed("full")).toBe(1);
    expect(await readiness()).toEqual(well);
  });

  it("R22 that fills up under a download cuts it, and passes the next one through", async () => {
    const fresh = await setup.pushLayer("library/fresh", 4 * mib);
    const half = setup.hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 2 * mib });
    const reader = setup.read(fresh);
    await reader.reached(mib);
    await takeAll(0);
    half.release();
    expect(await reader.ended).toMatchObject({ status: 200, complete: false, right: true });
    expect(await setup.hubcap.metric("hubcap_fill_failures_total", { reason: "disk" })).toBe(1);
    expect(await setup.read(fresh).ended).toEqual(whole(fresh.bytes));
    expect(await bypassed("full")).toBe(1);
    await hitsGoOn();
    await rm(ballast());
    await expect.poll(readiness).toEqual(well);
    await stored(fresh);
  });

  it("R23 without a byte left for the catalog serves hits, keeps counting quota, and recovers by itself", async () => {
    await takeAll(0);
    const spent = setup.hub.spent();
    for (let turn = 0; turn < 3; turn++) await hitsGoOn();
    const fresh = await setup.pushLayer("library/fresh", mib);
    expect(await setup.read(fresh).ended).toEqual(whole(fresh.bytes));
    // What cannot be written to the ledger is not spent.
    expect(setup.hub.spent()).toBe(spent);
    await rm(ballast());
    await expect.poll(readiness).toEqual(well);
    await stored(fresh);
  });
});
