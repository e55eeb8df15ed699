/** `GET /api/v1/quota/spend`: which clients or repositories spent the pulls, and which were refused one. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { Clock } from "../../async/clock.ts";
import type { Ledger } from "../../quota/ledger.ts";
import { redact } from "../redact.ts";
import { mayKnowOf, type ViewerOptions } from "./authorization.ts";
import { failure } from "./failure.ts";
import { parsed } from "./input.ts";

const keys = ["client", "repository", "userAgent", "reason"] as const;

/** Milliseconds. */
const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A point in time, or how far it lies back. */
type Since = { readonly at: number } | { readonly ago: number };

const since = parsed(
  (text): Since | undefined => {
    const [, amount, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
    if (amount !== undefined) return { ago: Number(amount) * (units[unit] ?? 0) };
    const time = z.iso.datetime({ offset: true }).safeParse(text);
    return time.success ? { at: Date.parse(time.data) } : undefined;
  },
  "must be an RFC 3339 time or a duration such as 90m, 6h or 7d",
  "must be given once",
);

const query = z.strictObject({
  by: z
    .enum(keys, { error: "must be client, repository, userAgent or reason" })
    .default("client")
    .describe(
      "What to sum by. A client is the node's name where its requests carry X-Hubcap-Node, else its address.",
    ),
  upstream: z
    .string({ error: "must be given once" })
    .optional()
    .describe("Only this upstream's; all unless given."),
  since: since.prefault("6h").openapi({
    type: "string",
    description:
      "From when on: an RFC 3339 time, or a duration such as 90m, 6h or 7d. Refusals, and what is older than a day, are known by the whole hour.",
  }),
});

const spend = z
  .strictObject({
    by: z.enum(keys),
    since: z.iso.datetime(),
    rows: z
      .array(
        z.strictObject({
          key: z.string(),
          spent: z.int().min(0).describe("Pulls."),
          refused: z.int().min(0).describe("Requests that were not sent for lack of quota."),
          lastAt: z.iso.datetime(),
        }),
      )
      .describe("Most first, at most a thousand."),
  })
  .openapi("Spend");

const route = createRoute({
  method: "get",
  path: "/quota/spend",
  summary: "Which clients or repositories spent the pulls, and which were refused one",
  request: { query },
  responses: {
    200: { description: "The sums.", content: { "application/json": { schema: spend } } },
    400: failure("A parameter cannot be read."),
  },
});

export interface SpendOptions extends ViewerOptions {
  /** By source host. */
  readonly buckets: ReadonlyMap<string, unknown>;
  readonly ledger: Pick<Ledger, "spendBy">;
  readonly clock: Pick<Clock, "now">;
}

export function addSpend(api: OpenAPIHono, options: SpendOptions): void {
  const { buckets, ledger, clock } = options;
  api.openapi(route, async (c) => {
    const { by, upstream, since } = c.req.valid("query");
    if (upstream !== undefined && !buckets.has(upstream)) {
      return c.json({ error: `upstream must be one of ${[...buckets.keys()].join(", ")}` }, 400);
    }
    const from = "at" in since ? since.at : Math.max(0, clock.now() - since.ago);
    const found = await ledger.spendBy({ by, since: from, ...(upstream !== undefined && { upstream }) });
    const shown = by === "repository" ? await redact(found, mayKnowOf(c, options)) : found;
    const rows = shown.map(({ lastAt, ...row }) => ({ ...row, lastAt: new Date(lastAt).toISOString() }));
    return c.json({ by, since: new Date(from).toISOString(), rows }, 200);
  });
}
