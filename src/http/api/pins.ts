/** `/api/v1/cache/pins`: the images that are never evicted. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { Pins } from "../../store/evict/pins.ts";
import { mayReadPattern } from "../redact.ts";
import {
  changesOff,
  changing,
  mayKnowOf,
  withoutToken,
  type AdminToken,
  type ViewerOptions,
} from "./authorization.ts";
import { failure } from "./failure.ts";
import { bodyOf, imagePattern, jsonBody, notJson } from "./input.ts";

const origin = z
  .enum(["configuration", "api", "cluster"])
  .describe("cluster: the cluster's pods use it, as far as they were listed.");

/** The body of every response about pins. */
export const cachePins = z
  .strictObject({
    pins: z.array(
      z.strictObject({
        image: z.string().describe("An image, a glob over repositories, or a digest."),
        origin,
      }),
    ),
  })
  .openapi("CachePins");

const path = "/cache/pins";

/** More images than any cluster of one Hubcap uses. */
const mostReplaced = 10_000;
const listExpected = `must be a list of at most ${mostReplaced}`;

const replacement = bodyOf("ClusterPins", {
  images: z.array(imagePattern, listExpected).max(mostReplaced, listExpected),
});

const query = z.strictObject({ image: imagePattern });
const badPattern = failure("The pattern cannot be read.");

function pinned(description: string) {
  return { description, content: { "application/json": { schema: cachePins } } };
}

const listRoute = createRoute({
  method: "get",
  path,
  summary: "What is never evicted",
  responses: {
    200: pinned(
      "The pins of the configuration, then those that were added. Where `access` is configured, those of images that not all clients may pull are shown to the admin token alone.",
    ),
  },
});

function routesFor(token: AdminToken | undefined) {
  const add = createRoute({
    method: "put",
    path,
    summary: "Pin images: they are not evicted",
    ...changing(token),
    request: { query },
    responses: { ...withoutToken, 200: pinned("All pins, with this one."), 400: badPattern },
  });
  const remove = createRoute({
    method: "delete",
    path,
    summary: "Take a pin away that was added through this API",
    ...changing(token),
    request: { query },
    responses: {
      ...withoutToken,
      200: pinned("The pins that are left."),
      400: badPattern,
      404: failure(`There is no such pin. ${changesOff}`),
      409: failure(
        "The configuration pins it, and only there can it be taken out; or the cluster's pods use it.",
      ),
    },
  });
  const replace = createRoute({
    method: "put",
    path: `${path}/cluster`,
    summary: "Pin the images that the cluster's pods use, and no others that they used before",
    ...changing(token),
    request: jsonBody(replacement),
    responses: {
      ...withoutToken,
      ...notJson,
      200: pinned("All pins, with these in the place of the cluster's earlier ones."),
      400: failure("A pattern cannot be read."),
    },
  });
  return { add, remove, replace };
}

type Pin = ReturnType<Pins["list"]>[number];

function shownOf({ pattern, origin }: Pin): z.output<typeof cachePins>["pins"][number] {
  return { image: pattern.text, origin };
}

export interface PinsOptions extends ViewerOptions {
  readonly eviction: { readonly pins: Pick<Pins, "list" | "add" | "replace" | "remove"> };
}

export function addPins(api: OpenAPIHono, options: PinsOptions): void {
  const { pins } = options.eviction;
  const { add, remove, replace } = routesFor(options.adminToken);
  const all = (): z.output<typeof cachePins> => ({ pins: pins.list().map(shownOf) });

  api.openapi(listRoute, async (c) => {
    const mayKnow = mayKnowOf(c, options);
    const shown: ReturnType<typeof shownOf>[] = [];
    for (const pin of pins.list()) if (await mayReadPattern(pin.pattern, mayKnow)) shown.push(shownOf(pin));
    return c.json({ pins: shown }, 200);
  });

  api.openapi(add, async (c) => {
    await pins.add(c.req.valid("query").image);
    return c.json(all(), 200);
  });

  api.openapi(remove, async (c) => {
    const { image } = c.req.valid("query");
    if (await pins.remove(image)) return c.json(all(), 200);
    const { text } = image;
    const other = pins.list().find(({ pattern }) => pattern.text === text)?.origin;
    if (other === "configuration") {
      return c.json({ error: `${text} is pinned by the configuration: take it out there` }, 409);
    }
    return other === "cluster"
      ? c.json({ error: `${text} is pinned because the cluster's pods use it` }, 409)
      : c.json({ error: `there is no pin ${text}` }, 404);
  });

  api.openapi(replace, async (c) => {
    await pins.replace("cluster", c.req.valid("json").images);
    return c.json(all(), 200);
  });
}
