/** `GET /api/v1/quota/events`: what happens to the quotas, as server-sent events. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import { streamSSE, type SSEMessage, type SSEStreamingApi } from "hono/streaming";
import type { Clock } from "../../async/clock.ts";
import type { MovedTag } from "../../mirror/immutable.ts";
import type { PolicyEvent } from "../../mirror/policy.ts";
import { parseRepositoryName } from "../../oci/reference.ts";
import type { QuotaBucket } from "../../quota/bucket.ts";
import type { QuotaEvent, QuotaListener } from "../../quota/events.ts";
import { Backlog, batches } from "../backlog.ts";
import { redacted } from "../redact.ts";
import { mayKnowOf, type ViewerOptions } from "./authorization.ts";
import { upstreamQuota } from "./quota.ts";

/** How many events a client may be behind. There may be more at once: slow clients get the number that they missed. */
const mostBehind = 256;

const at = z.iso.datetime().describe("When.");

const stateEvent = z.strictObject({
  at,
  upstream: z.string(),
  from: upstreamQuota.shape.state,
  to: upstreamQuota.shape.state,
});

const refusedEvent = z.strictObject({
  at,
  upstream: z.string(),
  kind: z.enum(["exhausted", "share", "paused", "limited", "busy", "down"]),
  reason: z.enum(["pull", "revalidate", "warm"]),
  client: z.string(),
  repository: z.string(),
  message: z.string().describe("The message that the client got."),
  retryAfter: z.int().describe("Seconds."),
});

const movedEvent = z.strictObject({
  at,
  upstream: z.string(),
  repository: z.string(),
  tag: z.string(),
  first: z.string().describe("The digest that the tag meant first, which is served."),
  now: z.string().describe("The digest that the upstream says it means now."),
});

const missedEvent = z.strictObject({ count: z.int() });

const route = createRoute({
  method: "get",
  path: "/quota/events",
  summary: "What happens to the quotas, as it happens",
  responses: {
    200: {
      description:
        "Server-sent events, each with one line of JSON. `sample` (UpstreamQuota): the quota of an upstream, at once and " +
        "then each minute. `state` (StateEvent): its state has changed. `refused` (RefusedEvent): a request was " +
        "not sent. `moved` (MovedEvent): an immutable tag means something else upstream than it did first. `missed` " +
        "(MissedEvent): so many events were dropped, because they were read too slowly. Of a repository that not all " +
        "clients may pull, the admin token shows name, message, tag and digests; without it they are `(private)`.",
      content: { "text/event-stream": { schema: z.string() } },
    },
  },
});

type WatchedBucket = Pick<QuotaBucket, "snapshot" | "on">;

/** The source of policy events. */
export interface PolicyEvents {
  /** Calls `listener` with each event until the returned function is called. */
  on(listener: (event: PolicyEvent) => void): () => void;
}

export interface EventsOptions extends ViewerOptions {
  /** By source host. */
  readonly buckets: ReadonlyMap<string, WatchedBucket>;
  readonly policyEvents: PolicyEvents;
  readonly clock: Clock;
}

export function addEvents(api: OpenAPIHono, options: EventsOptions): void {
  const { openAPIRegistry: schemas } = api;
  schemas.register("StateEvent", stateEvent);
  schemas.register("RefusedEvent", refusedEvent);
  schemas.register("MovedEvent", movedEvent);
  schemas.register("MissedEvent", missedEvent);
  api.openapi(route, (c) => {
    const mayKnow = mayKnowOf(c, options);
    const mayName: MayName = async (upstream, path) => {
      const name = parseRepositoryName(path);
      return name !== undefined && mayKnow({ upstream, name });
    };
    return streamSSE(c, (stream) => sendEvents(stream, options, mayName));
  });
}

/** The events that are sent; the others are for metrics. */
type SentEvent = Extract<QuotaEvent, { type: "sample" | "state" | "refused" }> | MovedTag;

/** May the client know of the repository of this name? */
type MayName = (upstream: string, path: string) => Promise<boolean>;

/** Sends events until the client has left. */
async function sendEvents(
  stream: SSEStreamingApi,
  { buckets, policyEvents, clock }: EventsOptions,
  mayName: MayName,
): Promise<void> {
  const sources = [...buckets.values()];
  const backlog = new Backlog<{ readonly event: SentEvent; readonly at: number }>(mostBehind, clock);
  const listen: QuotaListener = (event) => {
    if (event.type === "sample" || event.type === "state" || event.type === "refused") {
      backlog.push({ event, at: clock.now() });
    }
  };
  const leave = sources.map((source) => source.on(listen));
  leave.push(
    policyEvents.on((event) => {
      if (event.type === "moved") backlog.push({ event, at: clock.now() });
    }),
  );
  try {
    for (const source of sources) await stream.writeSSE(message("sample", source.snapshot()));
    for await (const { items, missed } of batches(backlog, stream)) {
      if (missed > 0) await stream.writeSSE(message("missed", { count: missed }));
      for (const { event, at } of items) await stream.writeSSE(await messageOf(event, at, mayName));
    }
  } finally {
    for (const stop of leave) stop();
  }
}

async function messageOf(event: SentEvent, ms: number, mayName: MayName): Promise<SSEMessage> {
  const at = new Date(ms).toISOString();
  switch (event.type) {
    case "sample":
      return message("sample", event.snapshot);
    case "state": {
      const { type, ...rest } = event;
      return message(type, { at, ...rest });
    }
    case "refused": {
      const { type, ...rest } = event;
      const { upstream, repository, message: why } = rest;
      const shown = shownOf(await mayName(upstream, repository), { repository, message: why });
      return message(type, { at, ...rest, ...shown });
    }
    case "moved": {
      const { type, repository, tag, first, now } = event;
      const { upstream, name } = repository;
      const shown = shownOf(await mayName(upstream, name), { repository: name, tag, first, now });
      return message(type, { at, upstream, ...shown });
    }
  }
}

/** What tells of a repository: as it is, or withheld. */
function shownOf(
  mayName: boolean,
  texts: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return mayName ? texts : Object.fromEntries(Object.keys(texts).map((key) => [key, redacted]));
}

function message(event: string, data: object): SSEMessage {
  return { event, data: JSON.stringify(data) };
}
