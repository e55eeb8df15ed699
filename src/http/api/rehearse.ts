/** `POST /api/v1/rehearse`: behave for a while as if an upstream were empty or down, to see what would break. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { QuotaBucket } from "../../quota/bucket.ts";
import type { RehearsalMode } from "../../quota/snapshot.ts";
import type { Log } from "../../telemetry/log.ts";
import { changing, withoutToken, type AdminToken } from "./authorization.ts";
import { failure } from "./failure.ts";
import { bodyOf, jsonBody, notJson } from "./input.ts";
import { upstreamQuota } from "./quota.ts";

const longestMinutes = 24 * 60;
const minutesExpected = `must be a number from 0 to ${longestMinutes}`;

const body = bodyOf("Rehearse", {
  upstream: z.string({ error: "must be the name of an upstream" }),
  mode: z
    .enum(["empty", "down"], { error: "must be empty or down" })
    .describe("empty: as if no pull were left. down: as if the upstream did not answer."),
  minutes: z
    .number({ error: minutesExpected })
    .min(0, minutesExpected)
    .max(longestMinutes, minutesExpected)
    .describe("How long, after which it ends by itself; 0 ends it now."),
});

function routeFor(token: AdminToken | undefined) {
  return createRoute({
    method: "post",
    path: "/rehearse",
    summary: "Behave as if an upstream were empty or down, for a while",
    ...changing(token),
    request: jsonBody(body),
    responses: {
      ...withoutToken,
      ...notJson,
      200: {
        description: "Where the upstream's quota stands with it.",
        content: { "application/json": { schema: upstreamQuota } },
      },
      400: failure("The body cannot be read, or there is no such upstream."),
    },
  });
}

export interface RehearseOptions extends RehearsalsOptions {
  readonly buckets: ReadonlyMap<string, Pick<QuotaBucket, "snapshot" | "rehearse">>;
  readonly adminToken: AdminToken | undefined;
}

export function addRehearse(api: OpenAPIHono, options: RehearseOptions): void {
  const { buckets, adminToken } = options;
  const rehearsals = new Rehearsals(options);
  api.openapi(routeFor(adminToken), (c) => {
    const { upstream, mode, minutes } = c.req.valid("json");
    const bucket = buckets.get(upstream);
    if (!bucket) {
      return c.json({ error: `upstream must be one of ${[...buckets.keys()].join(", ")}` }, 400);
    }
    rehearsals.begin(upstream, bucket, mode, minutes);
    return c.json(bucket.snapshot(), 200);
  });
}

type Rehearsable = Pick<QuotaBucket, "rehearse">;

export interface RehearsalsOptions {
  readonly log: Log;
  readonly now: () => number;
}

export class Rehearsals {
  readonly #options: RehearsalsOptions;
  readonly #ends = new Map<string, NodeJS.Timeout>();

  constructor(options: RehearsalsOptions) {
    this.#options = options;
  }

  /** Behaves for `minutes` as if `upstream`, whose bucket is given, were empty or down. 0 ends what is being rehearsed. */
  begin(upstream: string, bucket: Rehearsable, mode: RehearsalMode, minutes: number): void {
    clearTimeout(this.#ends.get(upstream));
    if (minutes === 0) return this.#end(upstream, bucket);
    const { log, now } = this.#options;
    const ms = minutes * 60_000;
    const until = now() + ms;
    bucket.rehearse(mode, until);
    this.#ends.set(upstream, setTimeout(() => this.#end(upstream, bucket), ms).unref());
    log.warn(
      { upstream, mode, until: new Date(until).toISOString() },
      `rehearsing that ${upstream} is ${mode}`,
    );
  }

  /** A bucket ends a rehearsal by itself, but says so only when it is asked something. */
  #end(upstream: string, bucket: Rehearsable): void {
    this.#ends.delete(upstream);
    bucket.rehearse("empty", 0);
    this.#options.log.warn({ upstream }, `the rehearsal of ${upstream} is over`);
  }
}
