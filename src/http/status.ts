/** The status face: probes, metrics and, for people and programs, what is going on. */
import { Hono, type Context, type Env } from "hono";
import { secured } from "./safeHeaders.ts";
import type { Metrics } from "../telemetry/metrics.ts";

export interface StatusListenerOptions {
  readonly metrics: Metrics;
  /** Undefined when pulls can be served, else one word for why not. Never about an upstream: a cache serves without. */
  readonly unready: () => string | undefined;
  /** Undefined when all is well, else what is wrong while pulls are served all the same. */
  readonly degraded: () => string | undefined;
  /** Opens what answers under `/api/v1`: when it is first asked, since few ask it and it takes some 10 MB. */
  readonly api: () => Promise<Hono<Env>>;
  /** What answers at `/`, for people. */
  readonly page: Hono;
}

/** The app behind the status listener. */
export function statusListener({ metrics, unready, degraded, api, page }: StatusListenerOptions): Hono {
  const app = new Hono();
  app.use(secured);
  app.get("/livez", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => {
    const reason = unready();
    if (reason !== undefined) return c.text(`${reason}\n`, 503);
    // Still ready: without this mirror, nodes would pull everything from upstream, what is held here too.
    const trouble = degraded();
    return c.text(trouble === undefined ? "ok\n" : `degraded: ${trouble}\n`);
  });
  app.get("/metrics", async (c) =>
    c.body(await metrics.read(), 200, { "Content-Type": metrics.registry.contentType }),
  );
  let opened: Promise<Hono> | undefined;
  app.all("/api/v1/*", async (c) => {
    opened ??= api().then(
      (resources) => new Hono().route("/api/v1", resources).notFound(nothing),
      (error: unknown) => {
        opened = undefined;
        throw error;
      },
    );
    return (await opened).fetch(c.req.raw, c.env);
  });
  app.route("/", page);
  app.notFound(nothing);
  return app;
}

function nothing(c: Context): Response {
  return c.json({ error: `nothing at ${c.req.path}` }, 404);
}
