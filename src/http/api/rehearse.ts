/** `POST /api/v1/rehearse`: behave for a while as if an upstream were empty or down, to see what would break. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { Clock } from "../../async/clock.ts";
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

type RehearsedBucket = Pick<QuotaBucket, "snapshot" | "rehearse">;

export interface RehearseOptions {
  /** By source host. */
  readonly buckets: ReadonlyMap<string, RehearsedBucket>;
  readonly adminToken: AdminToken | undefined;
  readonly log: Log;
  readonly clock: Clock;
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

/** The rehearsals that are under way: begun by an operator, ended by the clock, both logged. */
class Rehearsals {
  readonly #log: Log;
  readonly #clock: Clock;
  /** What cancels the end of each, by upstream. */
  readonly #ends = new Map<string, () => void>();

  constructor({ log, clock }: Pick<RehearseOptions, "log" | "clock">) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Replaces what is rehearsed with `upstream` for `minutes`; 0 only ends it. */
  begin(upstream: string, bucket: RehearsedBucket, mode: RehearsalMode, minutes: number): void {
    this.#ends.get(upstream)?.();
    if (minutes === 0) return this.#end(upstream, bucket);
    const ms = minutes * 60_000;
    const until = this.#clock.now() + ms;
    bucket.rehearse(mode, until);
    this.#ends.set(
      upstream,
      this.#clock.after(ms, () => this.#end(upstream, bucket)),
    );
    this.#log.warn(
      { upstream, mode, until: new Date(until).toISOString() },
      `rehearsing that ${upstream} is ${mode}`,
    );
  }

  /** A bucket ends a rehearsal by itself, but tells its listeners only when it is used next. */
  #end(upstream: string, bucket: RehearsedBucket): void {
    this.#ends.delete(upstream);
    bucket.rehearse("empty", 0);
    this.#log.warn({ upstream }, `the rehearsal of ${upstream} is over`);
  }
}
