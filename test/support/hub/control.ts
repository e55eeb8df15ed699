/** The stand-in's remote control, for when it runs as a process of its own: a few JSON calls over HTTP. */
import type { FaultAction, FaultTarget } from "../faults.ts";
import type { Hub } from "../hub.ts";
import { buildImage, type ContentDescriptor, type ImageOptions } from "../images.ts";
import type { Limit } from "./limit.ts";
import type { Counted } from "./requests.ts";

/** Image to build and where to push it. */
export interface PushOrder {
  readonly repository: string;
  readonly tag: string;
  readonly image: ImageOptions;
}

/** A fault whose path pattern is the source of a regular expression. */
export type FaultOrder = Omit<FaultTarget, "path"> & { readonly path?: string } & FaultAction;

/** What the calls take: `POST /<name>` with the JSON of it. */
export interface Orders {
  readonly push: PushOrder;
  readonly consume: { readonly pulls: number; readonly account?: string };
  readonly limit: { readonly limit: Limit; readonly account?: string };
  readonly fault: FaultOrder;
  readonly clear: object;
  readonly reset: object;
  readonly counts: object;
}

/** What was asked, in numbers. */
export interface CountsReport {
  readonly requests: number;
  readonly manifestGets: Counted;
  readonly manifestHeads: Counted;
  readonly charged: Counted;
  readonly blobGets: Counted;
  readonly cdnGets: Counted;
  readonly cdnBytes: number;
  readonly tokenRequests: number;
  readonly pings: number;
}

function report({ counts }: Hub): CountsReport {
  const cdnBytes = counts.requests
    .filter(({ origin }) => origin === "cdn")
    .reduce((sum, { bytes }) => sum + bytes, 0);
  const { manifestGets, manifestHeads, charged, blobGets, cdnGets, tokenRequests, pings } = counts;
  return {
    requests: counts.requests.length,
    manifestGets,
    manifestHeads,
    charged,
    blobGets,
    cdnGets,
    cdnBytes,
    tokenRequests: tokenRequests.total,
    pings,
  };
}

const calls: {
  readonly [Name in keyof Orders]: (hub: Hub, order: Orders[Name]) => Promise<object> | object;
} = {
  async push(hub, { image, repository, tag }): Promise<ContentDescriptor> {
    const built = await buildImage(image);
    hub.push(built, repository, tag);
    return built.root;
  },
  consume(hub, { pulls, account }) {
    hub.consume(pulls, account);
    return { remaining: hub.remaining(account) };
  },
  limit(hub, { limit, account }) {
    hub.setLimit(limit, account);
    return { remaining: hub.remaining(account) };
  },
  fault(hub, { path, ...fault }) {
    hub.fault(path === undefined ? fault : { ...fault, path: new RegExp(path) });
    return {};
  },
  clear(hub) {
    hub.faults.clear();
    return {};
  },
  reset(hub) {
    hub.counts.reset();
    return {};
  },
  counts: report,
};

/** Carries out the call of that name. Rejects when there is none. */
export async function obey(hub: Hub, name: string, order: unknown): Promise<object> {
  if (!Object.hasOwn(calls, name)) {
    throw new Error(`no such call: ${name}; there are ${Object.keys(calls).join(", ")}`);
  }
  const call = calls[name as keyof Orders] as (hub: Hub, order: unknown) => Promise<object> | object;
  return call(hub, order);
}
