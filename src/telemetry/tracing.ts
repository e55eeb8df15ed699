/** Traces of pulls in OpenTelemetry's terms, sent over OTLP. Imported only when they are wanted. */
import { hostname } from "node:os";
import {
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
  type SpanContext,
  type Tracer,
} from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
  type SpanExporter,
} from "@opentelemetry/sdk-trace";

export interface TracingOptions {
  /** The collector's address, to which the path of OTLP is added. */
  readonly endpoint: string;
  /** The share of pulls that are traced, of those that come without a trace. */
  readonly sampleRatio: number;
  /** Sent with every request to the collector. */
  readonly headers: Readonly<Record<string, string>>;
  readonly version: string;
  /** Told when spans begin to get lost, and when they arrive again. Nothing but spans ever gets lost by that. */
  readonly failed: (error: Error) => void;
  readonly recovered: () => void;
}

/** The headers of a request by which its sender says which trace it belongs to (W3C Trace Context). */
export interface TraceHeaders {
  readonly traceparent: string | string[] | undefined;
  readonly tracestate: string | string[] | undefined;
}

/** Traces, while they are on. */
export interface Tracing {
  /** Begins the span of a pull, as a part of the trace that its headers name. */
  begin(name: string, headers: TraceHeaders, attributes: Attributes): Traced;
  /** Sends what is left, for a bounded time. */
  close(): Promise<void>;
}

/** A span, as the rooms that know nothing of OpenTelemetry see it. */
export interface Traced {
  begin(name: string, attributes?: Attributes): Traced;
  note(attributes: Attributes): void;
  end(error?: unknown): void;
}

/** How long one batch may take, retries included, in ms; at the end of the process no batch is waited for any longer. */
const timeoutMillis = 5_000;

/** Requests that leave the house; all others are its own work. */
const clientSpans = new Set(["upstream request"]);

/** Begins to trace. Nothing here is registered globally: no library's calls are traced but our own. */
export function openTracing(options: TracingOptions): Tracing {
  const { endpoint, sampleRatio, headers, version } = options;
  const exporter = new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, "")}/v1/traces`,
    headers: { ...headers },
    timeoutMillis,
  });
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      "service.name": "hubcap",
      "service.version": version,
      "service.instance.id": hostname(),
    }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sampleRatio) }),
    // Its queue is bounded: a collector that is away costs spans, never memory.
    spanProcessors: [
      new BatchSpanProcessor({ exporter: told(exporter, options), scheduledDelayMillis: 1_000 }),
    ],
    // What clients send ends up in attributes.
    spanLimits: { attributeValueLengthLimit: 1_024 },
  });
  const tracer = provider.getTracer("hubcap", version);
  return {
    begin: (name, headers, attributes) => {
      const parent = parentIn(headers);
      const context = parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT;
      return new HubcapSpan(tracer, context, name, SpanKind.SERVER, attributes);
    },
    close: async () => {
      // A collector that cannot be reached was told of already.
      await provider.shutdown().catch(() => {});
    },
  };
}

class HubcapSpan implements Traced {
  readonly #tracer: Tracer;
  readonly #context: Context;
  readonly #span: Span;

  constructor(tracer: Tracer, parent: Context, name: string, kind: SpanKind, attributes: Attributes) {
    this.#tracer = tracer;
    this.#span = tracer.startSpan(name, { kind, attributes }, parent);
    this.#context = trace.setSpan(parent, this.#span);
  }

  begin(name: string, attributes: Attributes = {}): Traced {
    const kind = clientSpans.has(name) ? SpanKind.CLIENT : SpanKind.INTERNAL;
    return new HubcapSpan(this.#tracer, this.#context, name, kind, attributes);
  }

  note(attributes: Attributes): void {
    this.#span.setAttributes(attributes);
  }

  end(error?: unknown): void {
    if (error !== undefined) {
      const message = error instanceof Error ? error.message : "failed";
      this.#span.setStatus({ code: SpanStatusCode.ERROR, message: message.slice(0, 1_024) });
    }
    this.#span.end();
  }
}

/** `exporter`, with its first failure in a row and the end of the row told. */
function told(exporter: SpanExporter, { failed, recovered }: TracingOptions): SpanExporter {
  let isFailing = false;
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        const { error } = result;
        if (error && !isFailing) failed(error);
        if (!error && isFailing) recovered();
        isFailing = error !== undefined;
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
  };
}

/** The sender's span, or undefined when its headers name none (W3C Trace Context, "traceparent Header"). */
export function parentIn({ traceparent, tracestate }: TraceHeaders): SpanContext | undefined {
  if (typeof traceparent !== "string") return undefined;
  const found = /^(?!ff)([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/.exec(traceparent);
  const [, version, traceId = "", spanId = "", flags = "", more] = found ?? [];
  // Later versions may say more than this one, which says nothing after the flags.
  if (version === undefined || (version === "00" && more !== undefined)) return undefined;
  const state = typeof tracestate === "string" ? tracestate : tracestate?.join(",");
  const parent: SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true,
    ...(state !== undefined && { traceState: createTraceState(state) }),
  };
  return isSpanContextValid(parent) ? parent : undefined;
}
