/** The page for people at the status listener's root: what is left, what spent it, what was served, and why something failed. */
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { safeHeaders } from "../status.ts";
import { readAssets } from "./assets.ts";
import { pageDocument } from "./document.ts";
import { explainBox } from "./explained.ts";
import { Live } from "./live.ts";
import { partsOf } from "./parts.ts";
import { Views, type ViewOptions } from "./view.ts";

/** Nothing but our own files and event stream may be loaded, whatever a client gets into the page. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const headers = { ...safeHeaders, "Content-Security-Policy": policy };

/** The app that is mounted at `/`. */
export function statusPage(options: ViewOptions): Hono {
  const assets = readAssets();
  const views = new Views(options);
  const look = async () => partsOf(await views.take());
  const { log, clock } = options;
  const live = new Live(
    look,
    (error) => log.error({ err: error }, "the page cannot be kept up to date"),
    clock,
  );
  const app = new Hono();
  app.onError((error, c) => {
    log.error({ err: error, path: c.req.path }, "request failed");
    return c.text("this is Hubcap's own fault; its log says more\n", 500);
  });

  app.get("/", async (c) => {
    const [parts, explain] = await Promise.all([look(), explainBox(c.req.query("image"), options)]);
    const page = await pageDocument({ assets, parts, explain, now: clock.now() });
    return c.html(page, 200, { ...headers, "Cache-Control": "no-store" });
  });

  app.get("/live", (c) => {
    for (const [name, value] of Object.entries(headers)) c.header(name, value);
    c.header("Cache-Control", "no-store");
    if (live.isFull) {
      return c.text("so many watch the page already that it is not kept up to date for more\n", 503, {
        "Retry-After": "30",
      });
    }
    return streamSSE(c, (stream) => live.follow(stream));
  });

  for (const { path, type, bytes } of Object.values(assets) as (typeof assets)[keyof typeof assets][]) {
    app.get(path, (c) =>
      c.body(bytes, 200, {
        ...headers,
        "Content-Type": type,
        "Cache-Control": "public, max-age=31536000, immutable",
      }),
    );
  }
  return app;
}
