/** `GET /api/v1/explain`: what a pull of an image would get now, without a request to its upstream. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import type { Mirror } from "../../mirror/mirror.ts";
import { RegistryError } from "../../oci/error.ts";
import { parseImage } from "../../oci/image.ts";
import { formatImage } from "../../oci/reference.ts";
import type { Routing } from "../../oci/target.ts";
import { viewerOf, type ViewerOptions } from "./authorization.ts";
import { failure } from "./failure.ts";

const query = z.strictObject({
  image: z
    .string({ error: "must name one image, such as docker.io/library/nginx:1.29" })
    .openapi({ example: "docker.io/library/nginx:1.29" }),
});

const explanation = z
  .strictObject({
    image: z.string().describe("The image's whole name."),
    upstream: z.string(),
    repository: z.string(),
    reference: z.string().describe("The tag or digest."),
    digest: z.string().nullable().describe("What the reference means, as far as that is known."),
    held: z.boolean().describe("Are all manifests that one platform needs held?"),
    freshness: z.enum(["absent", "fresh", "stale"]),
    cost: z.int().min(0).describe("How many pulls it would spend, at most, for one platform."),
    wouldAnswer: z.enum(["hit", "stale", "miss", "refused"]),
    why: z.string().describe("One sentence for people."),
  })
  .openapi("Explanation");

const route = createRoute({
  method: "get",
  path: "/explain",
  summary: "What is held of an image, what a pull of it would cost now, and what a client would get",
  request: { query },
  responses: {
    200: {
      description:
        "Worked out from what is held, without a request to the upstream. Where `access` is configured, images that not all clients may pull are explained to the admin token alone, and to others as if they were not held.",
      content: { "application/json": { schema: explanation } },
    },
    400: failure("The image's name cannot be read, or its registry is not served."),
  },
});

export interface ExplainOptions extends Pick<ViewerOptions, "adminToken"> {
  readonly mirror: Pick<Mirror, "explain">;
  readonly routing: Routing;
}

export function addExplain(api: OpenAPIHono, { mirror, routing, adminToken }: ExplainOptions): void {
  api.openapi(route, async (c) => {
    try {
      const image = parseImage(c.req.valid("query").image, routing);
      const {
        repository,
        reference,
        digest = null,
        ...rest
      } = await mirror.explain(image, viewerOf(c, { adminToken }));
      const { upstream, name: path } = repository;
      const name = formatImage(repository, reference);
      return c.json({ image: name, upstream, repository: path, reference, digest, ...rest }, 200);
    } catch (error) {
      if (error instanceof RegistryError) return c.json({ error: error.message }, 400);
      throw error;
    }
  });
}
