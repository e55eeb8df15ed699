/** `GET /api/v1/quota`: the quota of every upstream. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { QuotaBucket } from "../../quota/bucket.ts";

const time = (what: string) => z.iso.datetime().nullable().describe(what);
const count = () => z.int().min(0);

/** One upstream × account; null is unknown. */
export const upstreamQuota = z
  .strictObject({
    name: z.string().describe("The source host, such as docker.io."),
    account: z.string().describe("The account's name, or anonymous."),
    source: z.string().nullable().describe("The address or account that the upstream says it counts."),
    state: z
      .enum(["ok", "low", "reserve", "exhausted", "unlimited", "unknown"])
      .describe("The bucket's state."),
    limit: count().nullable().describe("Pulls per window; null without a limit."),
    windowSeconds: z.number().describe("The period that spentInWindow covers."),
    remaining: count().nullable().describe("Pulls that are left."),
    reserve: count().nullable().describe("The part of them that is kept for images that are not held."),
    spentInWindow: count().describe("Pulls spent, those in flight included."),
    inFlight: count().describe("Requests that were sent and not answered yet."),
    setAside: count().describe("How many of `remaining` are kept for the rest of images that were begun."),
    waiting: count().describe("Requests that wait to be sent."),
    burnPerHour: z.number().min(0).describe("Pulls spent per hour, lately."),
    emptyAt: time("When nothing will be left if the last hour goes on."),
    nextFreeAt: time("When there will be one pull more."),
    fullAt: time("When everything spent has come back."),
    learntFrom: z.enum(["headers", "token", "config", "none"]).describe("Where the limit is known from."),
    observedAt: time("When the upstream last said what is left."),
    saved: z
      .strictObject({ pulls: count(), bytes: count() })
      .describe("What clients got without a request to the upstream."),
    rehearsal: z
      .strictObject({ mode: z.enum(["empty", "down"]), until: z.iso.datetime() })
      .nullable()
      .describe("The outage that is being rehearsed."),
  })
  .openapi("UpstreamQuota");

const route = createRoute({
  method: "get",
  path: "/quota",
  summary: "What is left of every upstream's quota, and when it runs out or comes back",
  responses: {
    200: {
      description: "All upstreams, in the order of the configuration.",
      content: { "application/json": { schema: z.strictObject({ upstreams: z.array(upstreamQuota) }) } },
    },
  },
});

export interface QuotaOptions {
  /** By source host. */
  readonly buckets: ReadonlyMap<string, Pick<QuotaBucket, "snapshot">>;
}

export function addQuota(api: OpenAPIHono, { buckets }: QuotaOptions): void {
  api.openapi(route, (c) => {
    const upstreams = [...buckets.values()].map((bucket) => bucket.snapshot());
    return c.json({ upstreams }, 200);
  });
}
