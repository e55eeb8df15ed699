/** `/api/v1/warm`: fetch images before clients pull them, and show how far that is. */
import { createRoute, z, type OpenAPIHono } from "@hono/zod-openapi";
import { TooManyJobsError, type Warmer } from "../../mirror/warm.ts";
import type { WarmItem, WarmJob, WarmOrder } from "../../mirror/warmJob.ts";
import type { Platform } from "../../oci/descriptor.ts";
import { RegistryError } from "../../oci/error.ts";
import { parseImage, referenceOf } from "../../oci/image.ts";
import { formatPlatform, parsePlatform, platformExpected } from "../../oci/platform.ts";
import type { Routing } from "../../oci/target.ts";
import { timestamp } from "../../async/text.ts";
import { repositoryIn, redacted } from "../redact.ts";
import {
  changesOff,
  changing,
  mayKnowOf,
  withoutToken,
  type AdminToken,
  type ViewerOptions,
} from "./authorization.ts";
import { failure } from "./failure.ts";
import { bodyOf, jsonBody, notJson, parsed } from "./input.ts";

const time = z.iso.datetime();
const count = () => z.int().min(0);

/** Images of one job: a page of JSON that is still read in one go. */
const mostImages = 1000;
const imagesExpected = `must be a list of 1 to ${mostImages} names`;

const order = bodyOf("WarmOrder", {
  images: z
    .array(z.string({ error: imagesExpected }).max(512, imagesExpected), imagesExpected)
    .min(1, imagesExpected)
    .max(mostImages, imagesExpected)
    .openapi({ example: ["docker.io/library/nginx:1.29"] }),
  platforms: z
    .array(
      parsed(parsePlatform, `must be ${platformExpected}`).openapi({
        type: "string",
        example: "linux/amd64",
      }),
      "must be a list of platforms",
    )
    .max(64, "must be a list of at most 64 platforms")
    .optional()
    .describe("What is fetched of an index; an empty list means all, and without it warm.platforms holds."),
  wait: z
    .boolean({ error: "must be true or false" })
    .default(false)
    .describe("Whether the job continues by itself when there is quota again."),
});

const job = z.strictObject({
  id: z.string(),
  origin: z.enum(["api", "configuration", "cluster"]).describe("Where it comes from."),
  state: z
    .enum(["running", "waiting", "done", "cancelled"])
    .describe("waiting: until there is quota again. done: whether all is held or not."),
  platforms: z.array(z.string()).describe("Of an index; empty means all."),
  wait: z.boolean(),
  createdAt: time,
  endedAt: time.nullable(),
  goOnAt: time.nullable().describe("When a waiting job is tried again at the latest."),
  total: count().describe("Images."),
  held: count(),
  failed: count(),
  left: count().describe("Images that are neither."),
  bytes: count().describe("Bytes that came in, of those that were missing."),
  totalBytes: count().describe("Bytes that are or were missing, as far as that is known."),
});

const jobs = z.strictObject({ jobs: z.array(job.openapi("WarmJob")) }).openapi("WarmJobs");

const detail = job
  .extend({
    images: z.array(
      z.strictObject({
        image: z.string().describe("Its whole name."),
        state: z
          .enum(["pending", "running", "held", "failed", "waiting", "cancelled"])
          .describe("waiting: for quota."),
        error: z.string().nullable().describe("Why it is not held, in one sentence."),
        retryAt: time.nullable().describe("When there will be quota for it."),
        bytes: count(),
        totalBytes: count(),
      }),
    ),
  })
  .openapi("WarmJobDetail");

const refusedOrder = z
  .strictObject({
    error: z.string().describe("One sentence for people."),
    images: z
      .array(z.strictObject({ image: z.string(), error: z.string() }))
      .optional()
      .describe("All names that cannot be read or whose registry is not served."),
  })
  .openapi("WarmRefusal");

const params = z.strictObject({ id: z.string() });
const noJob = "There is no such job, or not any more.";
const shownDetail = (description: string) => ({
  description,
  content: { "application/json": { schema: detail } },
});

const listRoute = createRoute({
  method: "get",
  path: "/warm",
  summary: "What is being fetched ahead, and what was",
  responses: {
    200: {
      description: "All jobs that have not ended and the last fifty that have, oldest first.",
      content: { "application/json": { schema: jobs } },
    },
  },
});

const jobRoute = createRoute({
  method: "get",
  path: "/warm/{id}",
  summary: "One job, image by image",
  request: { params },
  responses: { 200: shownDetail("Its progress."), 404: failure(noJob) },
});

function routesFor(token: AdminToken | undefined) {
  const submit = createRoute({
    method: "post",
    path: "/warm",
    summary: "Fetch images before clients pull them, from what pulls leave of the quota",
    ...changing(token),
    request: jsonBody(order),
    responses: {
      ...withoutToken,
      ...notJson,
      202: shownDetail("The job, which has begun. Its header Location leads to it."),
      400: {
        description: "The body cannot be read; nothing is fetched.",
        content: { "application/json": { schema: refusedOrder } },
      },
      409: failure("Too many jobs are under way."),
    },
  });
  const cancel = createRoute({
    method: "delete",
    path: "/warm/{id}",
    summary: "Cancel a job: no further image is begun, running downloads end by themselves",
    ...changing(token),
    request: { params },
    responses: {
      ...withoutToken,
      200: shownDetail("The job as it ended."),
      404: failure(`${noJob} ${changesOff}`),
    },
  });
  return { submit, cancel };
}

export interface WarmOptions extends ViewerOptions {
  readonly warmer: Pick<Warmer, "jobs" | "job" | "submit" | "cancel">;
  /** What is fetched of an index when an order does not say. */
  readonly warmPlatforms: readonly Platform[];
  readonly routing: Routing;
}

export function addWarm(api: OpenAPIHono, options: WarmOptions): void {
  const { warmer, warmPlatforms, routing } = options;
  const { submit, cancel } = routesFor(options.adminToken);

  api.openapi(listRoute, (c) => c.json({ jobs: warmer.jobs.map(summaryOf) }, 200));

  api.openapi(jobRoute, async (c) => {
    const { id } = c.req.valid("param");
    const found = warmer.job(id);
    if (!found) return c.json({ error: `there is no job ${id}` }, 404);
    const mayKnow = mayKnowOf(c, options);
    const detail = detailOf(found);
    for (const each of detail.images) {
      const repository = repositoryIn(each.image);
      if (!repository || (await mayKnow(repository))) continue;
      each.image = redacted;
      if (each.error !== null) each.error = redacted;
    }
    return c.json(detail, 200);
  });

  api.openapi(submit, async (c) => {
    const { images, platforms = warmPlatforms, wait } = c.req.valid("json");
    const { found, bad } = readImages(images, routing);
    if (bad.length > 0) {
      const error = bad.map(({ image, error }) => `${JSON.stringify(image)}: ${error}`).join("; ");
      return c.json({ error, images: bad }, 400);
    }
    try {
      const begun = await warmer.submit({ origin: "api", name: "", images: found, platforms, wait });
      c.header("Location", `/api/v1/warm/${begun.id}`);
      return c.json(detailOf(begun), 202);
    } catch (error) {
      if (error instanceof TooManyJobsError) return c.json({ error: error.message }, 409);
      throw error;
    }
  });

  api.openapi(cancel, async (c) => {
    const { id } = c.req.valid("param");
    const cancelled = await warmer.cancel(id);
    return cancelled ? c.json(detailOf(cancelled), 200) : c.json({ error: `there is no job ${id}` }, 404);
  });
}

/** Reads all names, so that all that are wrong can be listed. */
function readImages(images: readonly string[], routing: Routing) {
  const found: WarmOrder["images"][number][] = [];
  const bad: { image: string; error: string }[] = [];
  for (const text of images) {
    try {
      const image = parseImage(text, routing);
      const { upstream, name } = image;
      found.push({ repository: { upstream, name }, reference: referenceOf(image) });
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      bad.push({ image: text, error: error.message });
    }
  }
  return { found, bad };
}

function summaryOf(each: WarmJob): z.output<typeof job> {
  const { id, order, state, createdAt, endedAt, goOnAt, items } = each;
  const held = each.count("held");
  const failed = each.count("failed");
  return {
    id,
    origin: order.origin,
    state,
    platforms: order.platforms.map(formatPlatform),
    wait: order.wait,
    createdAt: isoTime(createdAt),
    endedAt: endedAt === undefined ? null : isoTime(endedAt),
    goOnAt: goOnAt === undefined ? null : timestamp(goOnAt),
    total: items.length,
    held,
    failed,
    left: items.length - held - failed,
    bytes: items.reduce((sum, item) => sum + item.bytes, 0),
    totalBytes: items.reduce((sum, item) => sum + item.total, 0),
  };
}

function detailOf(each: WarmJob): z.output<typeof detail> {
  return { ...summaryOf(each), images: each.items.map(imageOf) };
}

function imageOf({ name, state, setback, bytes, total }: WarmItem) {
  const retryAt = setback?.retryAt;
  return {
    image: name,
    state,
    error: setback?.error ?? null,
    retryAt: retryAt === undefined ? null : timestamp(retryAt),
    bytes,
    totalBytes: total,
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
