/** `GET /api/v1/cache` and `GET /api/v1/cache/images`: what is held. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import { parseDigest } from "../../oci/digest.ts";
import { formatRepository, type RepositoryName } from "../../oci/reference.ts";
import type { Eviction } from "../../store/evict/eviction.ts";
import { mayKnowOf, type ViewerOptions } from "./authorization.ts";
import { failure } from "./failure.ts";
import { parsed } from "./input.ts";

const time = z.iso.datetime();
const count = () => z.int().min(0);

/** The sums. */
export const cacheSummary = z
  .strictObject({
    bytes: count().describe("Bytes of manifests and blobs that are held."),
    capacity: count().describe("How many may be held."),
    blobs: count().describe("Blobs that are held, manifests among them."),
    manifests: count(),
    hitRatio: z
      .number()
      .nullable()
      .describe("The share of pulled manifests and blobs that needed no new download, since the start."),
    oldestUseAt: time.nullable().describe("The last use of the image that was unused for longest."),
  })
  .openapi("CacheSummary");

/** One page of images. */
export const cacheImages = z
  .strictObject({
    images: z.array(
      z.strictObject({
        repository: z.string().describe("With the source host, such as docker.io/library/nginx."),
        digest: z.string(),
        mediaType: z.string(),
        tags: z.array(z.string()).describe("The tags that mean this image, as far as they were pulled."),
        bytes: count().describe("Bytes that are held of it, its platforms and what refers to it."),
        pinned: z.boolean(),
        heldAt: time,
        usedAt: time,
        uses: count().describe("How often it was pulled while it was held."),
      }),
    ),
  })
  .openapi("CacheImages");

const mostListed = 1000;
const countExpected = `must be a whole number from 1 to ${mostListed}`;

const last = parsed(readPosition, "must be the end of the page before", "must be given once");

const page = z.strictObject({
  n: z.coerce
    .number({ error: countExpected })
    .int(countExpected)
    .min(1, countExpected)
    .max(mostListed, countExpected)
    .default(100)
    .describe("How many at most."),
  last: last
    .optional()
    .openapi({ type: "string", description: "The end of the page before: follow its Link instead." }),
});

const summaryRoute = createRoute({
  method: "get",
  path: "/cache",
  summary: "How much is held, and how often that saves a download",
  responses: {
    200: { description: "The sums.", content: { "application/json": { schema: cacheSummary } } },
  },
});

const imagesRoute = createRoute({
  method: "get",
  path: "/cache/images",
  summary: "The images that are held, an index with its platforms as one",
  request: { query: page },
  responses: {
    200: {
      description:
        "One page, by name and digest. Its header Link leads to the next, if there is one. Where `access` is configured, images that not all clients may pull are shown to the admin token alone.",
      content: { "application/json": { schema: cacheImages } },
    },
    400: failure("A parameter cannot be read."),
  },
});

type HeldImages = Pick<Eviction, "capacity" | "totals" | "oldestUse" | "images">;

type HeldImage = ReturnType<HeldImages["images"]> extends AsyncIterable<infer Image> ? Image : never;

export interface CacheOptions extends ViewerOptions {
  readonly eviction: HeldImages;
  /** The share of pulls that needed no new download; undefined before the first. */
  readonly hitRatio: () => Promise<number | undefined>;
}

export function addCache(api: OpenAPIHono, options: CacheOptions): void {
  const { eviction, hitRatio } = options;

  api.openapi(summaryRoute, async (c) => {
    const [totals, oldest, ratio] = await Promise.all([eviction.totals(), eviction.oldestUse(), hitRatio()]);
    const oldestUseAt = oldest === undefined ? null : isoTime(oldest);
    return c.json({ ...totals, capacity: eviction.capacity, hitRatio: ratio ?? null, oldestUseAt }, 200);
  });

  api.openapi(imagesRoute, async (c) => {
    const { n, last } = c.req.valid("query");
    const images: z.output<typeof cacheImages>["images"] = [];
    const mayKnow = mayKnowOf(c, options);
    for await (const image of eviction.images(last)) {
      if (!(await mayKnow(image.repository))) continue;
      const end = images.at(-1);
      if (images.length === n && end) {
        const next = new URLSearchParams({ n: String(n), last: `${end.repository}@${end.digest}` });
        c.header("Link", `</api/v1/cache/images?${next.toString()}>; rel="next"`);
        break;
      }
      images.push(shown(image));
    }
    return c.json({ images }, 200);
  });
}

/** The image that ended the page before, as this API wrote it. It is a position in an order, and need not be held any more. */
function readPosition(text: string): Parameters<HeldImages["images"]>[0] {
  const [, upstream = "", name = "", hash = ""] = /^([^/@]+)\/([^@]+)@(.+)$/.exec(text) ?? [];
  const digest = parseDigest(hash);
  return digest && { repository: { upstream, name: name as RepositoryName }, digest };
}

function shown(image: HeldImage): z.output<typeof cacheImages>["images"][number] {
  const { repository, digest, mediaType, tags, bytes, pinned, heldAt, usedAt, uses } = image;
  return {
    repository: formatRepository(repository),
    digest,
    mediaType,
    tags: [...tags],
    bytes,
    pinned,
    heldAt: isoTime(heldAt),
    usedAt: isoTime(usedAt),
    uses,
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
