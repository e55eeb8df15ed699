/** `DELETE /api/v1/cache/images` and `POST /api/v1/cache/evict`: letting go of images, for real or only to see which. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { Digest } from "../../oci/digest.ts";
import type { Pattern } from "../../oci/pattern.ts";
import { formatRepository, type Repository } from "../../oci/reference.ts";
import { changing, withoutToken, type AdminToken } from "./authorization.ts";
import { failure } from "./failure.ts";
import { imagePattern } from "./input.ts";

const reason = z.enum(["capacity", "age", "unused", "removed", "orphan"]);

/** The body of both. */
export const cacheEviction = z
  .strictObject({
    dryRun: z.boolean().describe("Whether this is only what would happen."),
    count: z.int().min(0).describe("How many images went."),
    bytes: z.int().min(0).describe("Bytes that came free with them."),
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
  .describe("Only tell what would go.");

function routesFor(token: AdminToken | undefined) {
  const gone = { description: "What went.", content: { "application/json": { schema: cacheEviction } } };
  const remove = createRoute({
    method: "delete",
    path: "/cache/images",
    summary: "Let go of the images that a pattern names, but for those that are pinned",
    ...changing(token),
    request: { query: z.strictObject({ image: imagePattern, dryRun }) },
    responses: { ...withoutToken, 200: gone, 400: failure("A parameter cannot be read.") },
  });
  const evict = createRoute({
    method: "post",
    path: "/cache/evict",
    summary: "Evict now what would be evicted in the background",
    ...changing(token),
    request: { query: z.strictObject({ dryRun }) },
    responses: { ...withoutToken, 200: gone, 400: failure("A parameter cannot be read.") },
  });
  return { remove, evict };
}

interface LetGo {
  readonly image: { readonly repository: Repository; readonly digest: Digest };
  readonly tags: readonly string[];
  readonly reason: z.output<typeof reason>;
  readonly bytes: number;
}

type Each = (gone: LetGo) => void;

export interface EvictOptions {
  readonly keeper: {
    evict(each: Each, rehearse: boolean): Promise<void>;
    remove(pattern: Pattern, each: Each, rehearse: boolean): Promise<void>;
  };
  readonly adminToken: AdminToken | undefined;
}

export function addEvict(api: OpenAPIHono, { keeper, adminToken }: EvictOptions): void {
  const { remove, evict } = routesFor(adminToken);

  api.openapi(remove, async (c) => {
    const { image, dryRun } = c.req.valid("query");
    const rehearse = dryRun === "true";
    return c.json(await collect(rehearse, (each) => keeper.remove(image, each, rehearse)), 200);
  });

  api.openapi(evict, async (c) => {
    const rehearse = c.req.valid("query").dryRun === "true";
    return c.json(await collect(rehearse, (each) => keeper.evict(each, rehearse)), 200);
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
    count += 1;
    sum += bytes;
    if (images.length === mostListed) return;
    const { repository, digest } = image;
    images.push({ repository: formatRepository(repository), digest, tags: [...tags], reason, bytes });
  });
  return { dryRun, count, bytes: sum, images };
}
