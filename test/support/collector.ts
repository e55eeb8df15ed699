/** A receiver of OpenTelemetry's traces over HTTP: it takes OTLP in JSON, and keeps what it was sent. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { json } from "node:stream/consumers";
import { Receiver } from "./receiver.ts";

/** A span as it came, with its attributes as a plain object. Ids are hexadecimal, times nanoseconds in decimal. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly error: string | undefined;
  /** What is said of the process that sent it. */
  readonly resource: Readonly<Record<string, unknown>>;
}

type Value = { stringValue?: string; intValue?: number | string; doubleValue?: number; boolValue?: boolean };
type Attributes = { readonly key: string; readonly value: Value }[];

interface Sent {
  readonly resourceSpans: {
    readonly resource: { readonly attributes: Attributes };
    readonly scopeSpans: {
      readonly spans: {
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly name: string;
        readonly kind: number;
        readonly startTimeUnixNano: string;
        readonly endTimeUnixNano: string;
        readonly attributes?: Attributes;
        readonly status?: { readonly code?: number; readonly message?: string };
      }[];
    }[];
  }[];
}

export class Collector extends Receiver {
  readonly requests: { readonly path: string; readonly headers: IncomingHttpHeaders }[] = [];
  /** Everything that came, as text. */
  readonly bodies: string[] = [];
  readonly spans: ReceivedSpan[] = [];
  /** What it answers; it takes spans only with 200. */
  status = 200;

  protected override async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push({ path: request.url ?? "", headers: request.headers });
    const body = await json(request);
    this.bodies.push(JSON.stringify(body));
    response.statusCode = this.status;
    if (this.status === 200) this.spans.push(...spansIn(body as Sent));
    response.setHeader("content-type", "application/json").end("{}");
  }
}

function spansIn({ resourceSpans }: Sent): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(({ traceId, spanId, parentSpanId, name, kind, attributes = [], status, ...times }) => ({
        traceId,
        spanId,
        parentSpanId,
        name,
        kind,
        start: BigInt(times.startTimeUnixNano),
        end: BigInt(times.endTimeUnixNano),
        attributes: plain(attributes),
        error: status?.code === 2 ? status.message : undefined,
        resource: plain(resource.attributes),
      })),
    ),
  );
}

function plain(attributes: Attributes): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => {
      const { stringValue, intValue, doubleValue, boolValue } = value;
      return [key, stringValue ?? boolValue ?? Number(intValue ?? doubleValue)];
    }),
  );
}
