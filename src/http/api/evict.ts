/** `DELETE /api/v1/cache/images` and `POST /api/v1/cache/evict`: evict images, or only show which. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { Mirror } from "../../mirror/mirror.ts";
import { formatRepository } from "../../oci/reference.ts";
import type { Eviction } from "../../store/evict/eviction.ts";
import { changing, withoutToken, type AdminToken } from "./authorization.ts";
import { failure } from "./failure.ts";
import { imagePattern } from "./input.ts";

const reason = z.enum(["capacity", "age", "unused", "removed", "orphan"]);

/** The body of both. */
export const cacheEviction = z
  .strictObject({
    dryRun: z.boolean().describe("Whether this is only what would happen."),
    count: z.int().min(0).describe("How many images were evicted."),
    bytes: z.int().min(0).describe("Bytes that this freed."),
    images: z
      .array(
        z.strictObject({
          repository: z.string(),
          digest: z.string(),
          tags: z.array(z.string()),
          reason,
          bytes: z.int().min(0),
        }),
      )
      .describe("The first thousand of them."),
  })
  .openapi("CacheEviction");

const mostListed = 1000;

const dryRun = z
  .enum(["true", "false"], { error: "must be true or false" })
  .default("false")
  .describe("Only show what would be evicted.");

function routesFor(token: AdminToken | undefined) {
  const evicted = {
    description: "What was evicted.",
    content: { "application/json": { schema: cacheEviction } },
  };
  const remove = createRoute({
    method: "delete",
    path: "/cache/images",
    summary: "Evict the images that a pattern matches, except pinned ones",
    ...changing(token),
    request: { query: z.strictObject({ image: imagePattern, dryRun }) },
    responses: { ...withoutToken, 200: evicted, 400: failure("A parameter cannot be read.") },
  });
  const evict = createRoute({
    method: "post",
    path: "/cache/evict",
    summary: "Evict now what would be evicted in the background",
    ...changing(token),
    request: { query: z.strictObject({ dryRun }) },
    responses: { ...withoutToken, 200: evicted, 400: failure("A parameter cannot be read.") },
  });
  return { remove, evict };
}

type Each = Parameters<Eviction["evict"]>[0];

export interface EvictOptions {
  readonly eviction: Pick<Eviction, "evict" | "remove">;
  readonly mirror: Pick<Mirror, "stored">;
  readonly adminToken: AdminToken | undefined;
}

export function addEvict(api: OpenAPIHono, { eviction, mirror, adminToken }: EvictOptions): void {
  const { remove, evict } = routesFor(adminToken);

  api.openapi(remove, async (c) => {
    const { image, dryRun } = c.req.valid("query");
    const isDryRun = dryRun === "true";
    // What a client has just pulled may not be held yet.
    await mirror.stored();
    return c.json(await collect(isDryRun, (each) => eviction.remove(image, each, isDryRun)), 200);
  });

  api.openapi(evict, async (c) => {
    const isDryRun = c.req.valid("query").dryRun === "true";
    return c.json(await collect(isDryRun, (each) => eviction.evict(each, isDryRun)), 200);
  });
}

async function collect(
  dryRun: boolean,
  evict: (each: Each) => Promise<void>,
): Promise<z.output<typeof cacheEviction>> {
  const images: z.output<typeof cacheEviction>["images"] = [];
  let count = 0;
  let sum = 0;
  await evict(({ image, tags, reason, bytes }) => {
    sum += bytes;
    // Orphans are no image.
    if (!image) return;
    count += 1;
    if (images.length === mostListed) return;
    const { repository, digest } = image;
    images.push({ repository: formatRepository(repository), digest, tags: [...tags], reason, bytes });
  });
  return { dryRun, count, bytes: sum, images };
}
