/** Traces of pulls with OpenTelemetry, sent over OTLP. Imported only if tracing is configured. */
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
  SamplingDecision,
  TracerProvider,
  type Sampler,
  type SpanExporter,
} from "@opentelemetry/sdk-trace";

export interface TracingOptions {
  /** The collector's address, to which the path of OTLP is added. */
  readonly endpoint: string;
  /** The share of pulls that are traced, from 0 to 1. */
  readonly sampleRatio: number;
  /** From 0 to 1, as Math.random. */
  readonly random: () => number;
  /** Sent with every request to the collector. */
  readonly headers: Readonly<Record<string, string>>;
  readonly version: string;
  /** Called when spans begin to be lost, and when they are accepted again. Only spans are ever lost. */
  readonly failed: (error: Error) => void;
  readonly recovered: () => void;
}

/** The headers that name the trace of a request (W3C Trace Context). */
export interface TraceHeaders {
  readonly traceparent: string | string[] | undefined;
  readonly tracestate: string | string[] | undefined;
}

/** Traces, while they are on. */
export interface Tracing {
  /** Begins the span of a pull, in the trace that its headers name. */
  begin(name: string, headers: TraceHeaders, attributes: Attributes): Traced;
  /** Sends what is left, for a bounded time. */
  close(): Promise<void>;
}

/** A span, for modules that do not import OpenTelemetry. */
export interface Traced {
  begin(name: string, attributes?: Attributes): Traced;
  note(attributes: Attributes): void;
  end(error?: unknown): void;
}

/** How long one batch may take, retries included, in ms; shutdown waits no longer either. */
const timeoutMillis = 5_000;

/** Steps that are requests to other servers; all others are internal. */
const clientSpans = new Set(["upstream request"]);

/** Begins to trace. Nothing is registered globally, so no other library's calls are traced. */
export function openTracing(options: TracingOptions): Tracing {
  const { endpoint, headers, version } = options;
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
    sampler: samplerOf(options),
    // Its queue is bounded: a collector that is down costs spans, never memory.
    spanProcessors: [
      new BatchSpanProcessor({ exporter: reporting(exporter, options), scheduledDelayMillis: 1_000 }),
    ],
    // Attributes contain what clients send.
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
      // A collector that cannot be reached was reported already.
      await provider.shutdown().catch(() => {});
    },
  };
}

/**
 * Samples `sampleRatio` of the pulls. Neither the flags of a client's trace nor its id count, since clients choose both:
 * they could have every pull traced, or none. The steps of a pull are traced if the pull is.
 */
function samplerOf({ sampleRatio, random }: Pick<TracingOptions, "sampleRatio" | "random">): Sampler {
  const { RECORD_AND_SAMPLED, NOT_RECORD } = SamplingDecision;
  const root: Sampler = {
    shouldSample: () => ({ decision: random() < sampleRatio ? RECORD_AND_SAMPLED : NOT_RECORD }),
    toString: () => `share ${sampleRatio}`,
  };
  return new ParentBasedSampler({ root, remoteParentSampled: root, remoteParentNotSampled: root });
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

/** `exporter`, with a report of the first of several failures, and of the success after them. */
function reporting(exporter: SpanExporter, { failed, recovered }: TracingOptions): SpanExporter {
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
  // Later versions may have more fields; this one has none after the flags.
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
