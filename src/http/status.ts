/** The status listener: probes, metrics, the status API and the page. */
import { getRequestListener } from "@hono/node-server";
import { Hono, type Context, type Env, type MiddlewareHandler } from "hono";
import type { RequestListener } from "node:http";
import type { Degraded } from "../store/health.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { UnreadBytes } from "./reply.ts";

export interface StatusListenerOptions {
  readonly metrics: Metrics;
  /** Undefined when pulls can be served, else one word for why not. Never about an upstream: what is held is served without it. */
  readonly unready: () => string | undefined;
  /** Undefined when all is well, else what is wrong although pulls are served. */
  readonly degraded: () => Degraded | undefined;
  /** Opens what responds under `/api/v1`, with the first request for it: it takes some 10 MB, and few use it. */
  readonly api: () => Promise<Hono<Env>>;
  /** What responds at `/`, for people. */
  readonly page: Hono;
}

/** The app behind the status listener. */
export function statusListener({ metrics, unready, degraded, api, page }: StatusListenerOptions): Hono {
  const app = new Hono();
  app.use(setSafeHeaders);
  app.get("/livez", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => {
    const reason = unready();
    if (reason !== undefined) return c.text(`${reason}\n`, 503);
    // Still ready: without this mirror, nodes would pull from upstream even what is held here.
    const trouble = degraded();
    if (!trouble) return c.text("ok\n");
    return c.text(`degraded: ${trouble.text}\n`, 200, { "X-Hubcap-Degraded": trouble.reason });
  });
  app.get("/metrics", async (c) =>
    c.body(await metrics.read(), 200, { "Content-Type": metrics.registry.contentType }),
  );
  let opened: Promise<Hono> | undefined;
  app.all("/api/v1/*", async (c) => {
    opened ??= api().then(
      (resources) => new Hono().route("/api/v1", resources).notFound(notFound),
      (error: unknown) => {
        opened = undefined;
        throw error;
      },
    );
    return (await opened).fetch(c.req.raw, c.env);
  });
  app.route("/", page);
  app.notFound(notFound);
  return app;
}

function notFound(c: Context): Response {
  // The reason lets `hubcap doctor` tell a client that it was given the wrong port.
  return c.json({ error: `nothing at ${c.req.path}`, reason: "status-listener" }, 404);
}

/** The request listener that responds as `app` says. Connections of an address that leaves too much unread are cut. */
export function handlerOf(app: Pick<Hono<Env>, "fetch">, unread?: UnreadBytes): RequestListener {
  const respond = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  return (incoming, outgoing) => {
    const { remoteAddress = "" } = incoming.socket;
    outgoing.once("prefinish", () => {
      try {
        unread?.add(outgoing, remoteAddress, outgoing.writableLength);
      } catch {
        // Only now is it known how long the response is.
        outgoing.destroy();
      }
    });
    void respond(incoming, outgoing);
  };
}

/** Headers that keep browsers from doing anything with a response but showing it. */
export const safeHeaders = {
  "X-Content-Type-Options": "nosniff",
  // A page names what it loads itself.
  "Content-Security-Policy":
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "X-Frame-Options": "DENY",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
} as const;

/** Sets them on every response, errors too, that has none of its own. */
const setSafeHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(safeHeaders))
    if (!c.res.headers.has(name)) c.header(name, value);
};
