/** `GET /api/v1/quota/events`: what happens to the quotas, as server-sent events. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import { streamSSE, type SSEMessage, type SSEStreamingApi } from "hono/streaming";
import type { Moved } from "../../mirror/immutable.ts";
import type { PolicyEvent } from "../../mirror/policy.ts";
import type { QuotaBucket } from "../../quota/bucket.ts";
import type { QuotaEvent, QuotaListener } from "../../quota/event.ts";
import { Backlog } from "./backlog.ts";
import { upstreamQuota } from "./quota.ts";

/** Shorter than the minute of common proxies' patience with a silent connection. */
const heartbeatMs = 15_000;

/** What a client may be behind by. A refused herd makes more; those who read slowly learn how many they missed. */
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
  kind: z.enum(["exhausted", "paused", "busy"]),
  reason: z.enum(["pull", "revalidate", "warm"]),
  client: z.string(),
  repository: z.string(),
  message: z.string().describe("What the client was told."),
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
        "Server-sent events, each with one line of JSON. `sample` (UpstreamQuota): where an upstream stands, at once and " +
        "then each minute. `state` (StateEvent): a step up or down the ladder. `refused` (RefusedEvent): a request was " +
        "not sent. `moved` (MovedEvent): an immutable tag means something else upstream than it did first. `missed` (MissedEvent): so many events were dropped, because they were read too slowly.",
      content: { "text/event-stream": { schema: z.string() } },
    },
  },
});

type Source = Pick<QuotaBucket, "snapshot" | "on">;

/** Who tells what the policy meets. */
export interface PolicyEvents {
  /** Calls `listener` with each event until the returned function is called. */
  on(listener: (event: PolicyEvent) => void): () => void;
}

export interface EventsOptions {
  /** By source host. */
  readonly buckets: ReadonlyMap<string, Source>;
  readonly policyEvents: PolicyEvents;
  readonly now: () => number;
}

export function addEvents(api: OpenAPIHono, { buckets, policyEvents, now }: EventsOptions): void {
  const { openAPIRegistry: schemas } = api;
  schemas.register("StateEvent", stateEvent);
  schemas.register("RefusedEvent", refusedEvent);
  schemas.register("MovedEvent", movedEvent);
  schemas.register("MissedEvent", missedEvent);
  const sources = [...buckets.values()];
  api.openapi(route, (c) => streamSSE(c, (stream) => tell(stream, sources, policyEvents, now)));
}

/** Writes events until the client has left. */
async function tell(
  stream: SSEStreamingApi,
  sources: readonly Source[],
  policyEvents: PolicyEvents,
  now: () => number,
): Promise<void> {
  const backlog = new Backlog<SSEMessage>(mostBehind);
  const listen: QuotaListener = (event) => {
    const told = messageOf(event, now());
    if (told) backlog.push(told);
  };
  const leave = sources.map((source) => source.on(listen));
  leave.push(
    policyEvents.on((event) => {
      if (event.type === "moved") backlog.push(moved(event, now()));
    }),
  );
  stream.onAbort(() => backlog.wake());
  try {
    for (const source of sources) await stream.writeSSE(message("sample", source.snapshot()));
    while (!stream.aborted) {
      const { items, missed } = await backlog.next(heartbeatMs);
      if (missed > 0) await stream.writeSSE(message("missed", { count: missed }));
      for (const item of items) await stream.writeSSE(item);
      // A comment, for proxies that cut what is silent.
      if (items.length === 0) await stream.write(":\n\n");
    }
  } finally {
    for (const stop of leave) stop();
  }
}

/** What is told of `event`; nothing of what only metrics are for. */
function messageOf(event: QuotaEvent, now: number): SSEMessage | undefined {
  switch (event.type) {
    case "sample":
      return message("sample", event.snapshot);
    case "state":
    case "refused": {
      const { type, ...rest } = event;
      return message(type, { at: new Date(now).toISOString(), ...rest });
    }
    case "granted":
    case "spent":
    case "ledger-failed":
      return undefined;
  }
}

function moved({ repository, tag, first, now }: Moved, at: number): SSEMessage {
  const { upstream, name } = repository;
  return message("moved", { at: new Date(at).toISOString(), upstream, repository: name, tag, first, now });
}

function message(event: string, data: object): SSEMessage {
  return { event, data: JSON.stringify(data) };
}
