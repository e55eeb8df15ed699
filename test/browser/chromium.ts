/** Debian's Chromium, opened on pages of which everything that goes wrong is written down. */
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";

/** A page, and what went wrong on it. */
export interface WatchedPage {
  readonly page: Page;
  /** Errors and warnings of the console, script errors, what the content policy stopped, and requests to other origins. */
  readonly flaws: readonly string[];
  /** How often a document was loaded. */
  readonly loads: () => number;
}

/** Starts the browser, with a profile of its own that goes with it. It makes no calls of its own. */
export function openBrowser(path: string): Promise<Browser> {
  return chromium.launch({
    executablePath: path,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** Opens `url` in a window of its own. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const flaws: string[] = [];
  let loads = 0;
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") flaws.push(message.text());
  });
  page.on("pageerror", (error) => flaws.push(String(error)));
  page.on("domcontentloaded", () => (loads += 1));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) flaws.push(`asked ${request.url()}`);
  });
  await context.exposeFunction("policyStopped", (what: string) => flaws.push(`the policy stopped ${what}`));
  await context.addInitScript(
    `addEventListener("securitypolicyviolation", (event) => policyStopped(event.violatedDirective + " " + event.blockedURI));`,
  );
  await page.goto(url);
  return { page, flaws, loads: () => loads };
}
