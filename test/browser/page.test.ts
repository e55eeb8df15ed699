/** The page in a real browser: what people see of a running Hubcap, and that it stays within its own policy. */
import { mkdir } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { withClient } from "../support/clients.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { startHubcap, upstreamOf, type Hubcap } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { pullLikeContainerd } from "../support/pull.ts";
import { openBrowser, openPage, type WatchedPage } from "./chromium.ts";

const output = "test-output/page";
const limit = 10;

function picture(page: Page, name: string): Promise<unknown> {
  return page.screenshot({ path: `${output}/${name}.png`, fullPage: true });
}

/** Waits until a text is seen. */
function sees(page: Page, within: string, text: string | RegExp, timeout = 60_000): Promise<void> {
  return page.locator(within).getByText(text).first().waitFor({ timeout });
}

withClient("chromium", ({ path }) => {
  let browser: Browser;
  let hub: Hub;
  let hubcap: Hubcap;
  let opened: WatchedPage[] = [];

  beforeAll(async () => {
    await mkdir(output, { recursive: true });
    browser = await openBrowser(path);
    hub = await startHub({ limit });
    hubcap = await startHubcap({
      config: { upstreams: { "docker.io": upstreamOf(hub), "ghcr.io": {} } },
    });
    await push("nginx");
    await push("first");
    // The first answer tells the limit.
    await pull("first");
  });

  afterEach(async () => {
    const flaws = opened.flatMap(({ flaws }) => flaws);
    await Promise.all(opened.map(({ page }) => page.context().close()));
    opened = [];
    if (flaws.length > 0) throw new Error(`on the page:\n${flaws.join("\n")}`);
  });

  afterAll(async () => {
    await browser?.close();
    await hubcap?.dispose();
    await hub?.stop();
  });

  async function open(options: Parameters<typeof openPage>[2] = {}, search = ""): Promise<WatchedPage> {
    const watched = await openPage(browser, `${hubcap.statusUrl}/${search}`, options);
    opened.push(watched);
    return watched;
  }

  async function push(name: string): Promise<void> {
    hub.push(await buildImage({ seed: name, layerBytes: 100_000 }), `library/${name}`, "1");
  }

  function pull(name: string, node = "node-1") {
    return pullLikeContainerd({
      mirror: hubcap.url,
      ns: "docker.io",
      repository: `library/${name}`,
      reference: "1",
      headers: { "x-hubcap-node": node },
      attempts: 1,
    });
  }

  it("shows what a pull changes, without being loaded again", async () => {
    const { page, loads } = await open();
    await sees(page, "#live", "Live");
    await sees(page, "#quotas", "8 of 10 pulls left");
    await sees(page, "#verdict", "All pulls are served.");
    await page.locator("#image").fill("half a na");
    await page.evaluate(`document.querySelector("#quotas canvas").title = "the one from before"`);
    expect((await pull("nginx", "node-7")).errors).toEqual([]);
    await sees(page, "#quotas", "6 of 10 pulls left");
    await sees(page, "#spenders", "node-7");
    await sees(page, "#spenders", "docker.io/library/nginx");
    expect(loads()).toBe(1);
    // What is being typed is left alone, and what is drawn is drawn on.
    expect(await page.locator("#quotas canvas").getAttribute("title")).toBe("the one from before");
    expect(await page.locator("#image").inputValue()).toBe("half a na");
  });

  it("draws the burn-down and what was served", async () => {
    const { page } = await open();
    await page.locator("#quotas .plot canvas").first().waitFor();
    expect(await page.locator(".plot canvas").count()).toBe(3);
    expect(await page.locator("#quotas .plot").first().getAttribute("aria-label")).toContain("docker.io");
  });

  it("shows a download while it runs", async () => {
    await push("slow");
    const drip = hub.fault({ origin: "cdn", kind: "drip", bytesPerSecond: 40_000 });
    const { page } = await open();
    const pulled = pull("slow");
    await sees(page, "#fills", /docker\.io\/library\/slow/);
    await page.locator("#fills progress").first().waitFor();
    drip.remove();
    expect((await pulled).errors).toEqual([]);
    await sees(page, "#fills", "No download is running.");
  });

  it("shows within 2 s that nothing is left, why a pull was refused, and when there will be more", async () => {
    const { page } = await open();
    await sees(page, "#live", "Live");
    hub.consume(limit);
    await push("late");
    expect((await pull("late", "node-9")).statuses[429]).toBeGreaterThan(0);
    const refusedAt = performance.now();
    await sees(page, "#quotas", "exhausted", 2000);
    await sees(page, "#verdict", "No pull of docker.io is left.", 2000 - (performance.now() - refusedAt));
    await sees(page, "#quotas", "0 of 10 pulls left");
    await sees(page, "#quotas", /refused/);
    await sees(page, "#quotas", /The next pull is free at/);
    await sees(page, "#failed", /docker\.io\/library\/late/);
    await sees(page, "#failed", /node-9/);
    await picture(page, "light");
  });

  it("is readable in the dark", async () => {
    const { page } = await open({ colorScheme: "dark" });
    await page.locator(".plot canvas").first().waitFor();
    const ground = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    expect(ground).toBe("rgb(13, 19, 25)");
    await picture(page, "dark");
  });

  it("fits a phone of 320 pixels", async () => {
    const { page } = await open({ viewport: { width: 320, height: 640 } });
    await page.locator(".plot canvas").first().waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(320);
    // What one looks for first is seen without scrolling.
    const box = await page.locator(".left").first().boundingBox();
    expect((box?.y ?? Infinity) + (box?.height ?? 0)).toBeLessThan(640);
    await picture(page, "phone");
  });

  it("tells its numbers where no script runs", async () => {
    const { page } = await open({ javaScriptEnabled: false });
    await sees(page, "#quotas", "0 of 10 pulls left");
    await sees(page, "#live", /As of/);
    await sees(page, "#spenders", "node-7");
    expect(await page.locator(".plot").first().isVisible()).toBe(false);
    await page.locator("#image").fill("nginx:1");
    await page.locator("button").click();
    await sees(page, "#explain", "docker.io/library/nginx:1");
    await picture(page, "without-script");
  });

  it("can be used from the keyboard alone", async () => {
    const { page } = await open();
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the quotas");
    await page.locator("#image").focus();
    await page.keyboard.type("library/absent");
    await page.keyboard.press("Enter");
    await sees(page, "#explain", "refused");
    await sees(page, "#explain", /it is not held, and no pulls of docker\.io are left/);
  });

  it("shows a name with markup in it as what was typed", async () => {
    const name = `"><script src="https://evil.example/x.js"></script><img src=x onerror=alert(1)>`;
    const { page } = await open({}, `?image=${encodeURIComponent(name)}`);
    expect(await page.locator("#image").inputValue()).toBe(name);
    expect(await page.locator("#explain script, #explain img").count()).toBe(0);
  });

  it("says that it is not live any more, and is again when Hubcap is back", async () => {
    const { page, flaws } = await open();
    await sees(page, "#live", "Live");
    // An open page does not keep Hubcap from ending.
    const asked = performance.now();
    expect(await hubcap.stop()).toMatchObject({ code: 0 });
    expect(performance.now() - asked).toBeLessThan(20_000);
    await sees(page, "#live", /Not live since/);
    await hubcap.start();
    await sees(page, "#live", /^Live$/);
    // That the connection is gone is what this is about; the browser notes it, too.
    const others = flaws.filter((flaw) => !/net::ERR_/.test(flaw));
    expect(others).toEqual([]);
    (flaws as string[]).length = 0;
  });
});
