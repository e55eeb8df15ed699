/** The cache API: what is held, what is pinned and, with the admin token, letting go of it. Mounted under `/api/v1/cache`. */
import { Hono, type Context } from "hono";
import { z } from "zod";
import type { Digest } from "../oci/digest.ts";
import { parseDigest } from "../oci/digest.ts";
import { parsePattern, patternExpected, type Pattern } from "../oci/pattern.ts";
import { formatRepository, parseRepositoryName, type Repository } from "../oci/reference.ts";
import { adminOnly, type AdminToken } from "./admin.ts";

/** What is asked of the keeper of the cache. */
export interface CacheKeeper {
  readonly capacity: number;
  readonly pins: {
    list(): readonly { readonly pattern: Pattern; readonly origin: "configuration" | "api" }[];
    add(pattern: Pattern): void;
    remove(pattern: Pattern): boolean;
  };
  totals(): Promise<{ readonly bytes: number; readonly blobs: number; readonly manifests: number }>;
  oldestUse(): Promise<number | undefined>;
  images(after: Held | undefined): AsyncIterable<KeptImage>;
  evict(each: (gone: LetGo) => void, rehearse: boolean): Promise<void>;
  remove(pattern: Pattern, each: (gone: LetGo) => void, rehearse: boolean): Promise<void>;
}

interface Held {
  readonly repository: Repository;
  readonly digest: Digest;
}

interface KeptImage extends Held {
  readonly mediaType: string;
  readonly tags: readonly string[];
  readonly bytes: number;
  readonly pinned: boolean;
  /** Times are ms since the epoch. */
  readonly heldAt: number;
  readonly usedAt: number;
  readonly uses: number;
}

interface LetGo {
  readonly image: Held;
  readonly tags: readonly string[];
  readonly reason: "capacity" | "age" | "unused" | "removed" | "orphan";
  readonly bytes: number;
}

export interface CacheFaceOptions {
  readonly keeper: CacheKeeper;
  /** The share of pulls that needed no new download; undefined before the first. */
  readonly hitRatio: () => Promise<number | undefined>;
  readonly token: AdminToken | undefined;
}

const time = z.iso.datetime();

/** The body of `GET /`. */
export const cacheSummary = z.strictObject({
  bytes: z.int().describe("Bytes of manifests and blobs that are held."),
  capacity: z.int().describe("How many may be held."),
  blobs: z.int().describe("Blobs that are held, manifests among them."),
  manifests: z.int(),
  hitRatio: z
    .number()
    .nullable()
    .describe("The share of pulled manifests and blobs that needed no new download, since the start."),
  oldestUseAt: time.nullable().describe("When the image that was unused for longest was asked for last."),
});

/** The body of `GET /images`. */
export const cacheImages = z.strictObject({
  images: z.array(
    z.strictObject({
      repository: z.string().describe("With the source host, such as docker.io/library/nginx."),
      digest: z.string(),
      mediaType: z.string(),
      tags: z.array(z.string()).describe("The tags that mean this image, as far as they were asked for."),
      bytes: z.int().describe("Bytes that are held of it, its platforms and what refers to it."),
      pinned: z.boolean(),
      heldAt: time,
      usedAt: time,
      uses: z.int().describe("How often it was asked for while it was held."),
    }),
  ),
});

/** The body of `DELETE /images` and `POST /evict`. */
export const cacheEviction = z.strictObject({
  dryRun: z.boolean().describe("Whether this is only what would happen."),
  count: z.int().describe("How many images went."),
  bytes: z.int().describe("Bytes that came free with them."),
  images: z
    .array(
      z.strictObject({
        repository: z.string(),
        digest: z.string(),
        tags: z.array(z.string()),
        reason: z.enum(["capacity", "age", "unused", "removed", "orphan"]),
        bytes: z.int(),
      }),
    )
    .describe("The first thousand of them."),
});

/** The body of every answer about pins. */
export const cachePins = z.strictObject({
  pins: z.array(
    z.strictObject({
      image: z.string().describe("An image, a glob over repositories, or a digest."),
      origin: z.enum(["configuration", "api"]),
    }),
  ),
});

const mostListed = 1000;

const pageQuery = z.object({
  n: z.coerce.number().int().min(1).max(mostListed).default(100),
  last: z.string().transform(readLast).optional(),
});

/** The app; every call but a mere question needs the token. */
export function cacheFace({ keeper, hitRatio, token }: CacheFaceOptions): Hono {
  const app = new Hono();
  const admin = adminOnly(token);

  app.get("/", async (c) => {
    const [totals, oldest, ratio] = await Promise.all([keeper.totals(), keeper.oldestUse(), hitRatio()]);
    const body: z.output<typeof cacheSummary> = {
      ...totals,
      capacity: keeper.capacity,
      hitRatio: ratio ?? null,
      oldestUseAt: oldest === undefined ? null : isoTime(oldest),
    };
    return c.json(body);
  });

  app.get("/images", async (c) => {
    const query = pageQuery.safeParse(c.req.query());
    if (!query.success) return c.json({ error: `n is from 1 to ${mostListed}, last the end of a page` }, 400);
    const { n, last } = query.data;
    const images: z.output<typeof cacheImages>["images"] = [];
    for await (const image of keeper.images(last)) {
      const end = images.at(-1);
      if (images.length === n && end) {
        const next = new URLSearchParams({ n: String(n), last: `${end.repository}@${end.digest}` });
        c.header("Link", `</api/v1/cache/images?${next.toString()}>; rel="next"`);
        break;
      }
      images.push(shown(image));
    }
    return c.json({ images } satisfies z.output<typeof cacheImages>);
  });

  app.delete("/images", admin, async (c) => {
    const pattern = patternIn(c);
    if (!pattern) return c.json(patternError, 400);
    return c.json(await collect(c, (each, rehearse) => keeper.remove(pattern, each, rehearse)));
  });

  app.post("/evict", admin, async (c) =>
    c.json(await collect(c, (each, rehearse) => keeper.evict(each, rehearse))),
  );

  app.get("/pins", (c) => c.json(pinsOf(keeper)));

  app.put("/pins", admin, (c) => {
    const pattern = patternIn(c);
    if (!pattern) return c.json(patternError, 400);
    keeper.pins.add(pattern);
    return c.json(pinsOf(keeper));
  });

  app.delete("/pins", admin, (c) => {
    const pattern = patternIn(c);
    if (!pattern) return c.json(patternError, 400);
    if (keeper.pins.remove(pattern)) return c.json(pinsOf(keeper));
    const configured = keeper.pins.list().some((pin) => pin.pattern.text === pattern.text);
    return configured
      ? c.json({ error: `${pattern.text} is pinned by the configuration: take it out of storage.pins` }, 409)
      : c.json({ error: `there is no pin ${pattern.text}` }, 404);
  });
  return app;
}

const patternError = { error: `image is ${patternExpected}` };

function patternIn(c: Context): Pattern | undefined {
  return parsePattern(c.req.query("image") ?? "");
}

async function collect(
  c: Context,
  evict: (each: (gone: LetGo) => void, rehearse: boolean) => Promise<void>,
): Promise<z.output<typeof cacheEviction>> {
  const dryRun = c.req.query("dryRun") === "true";
  const images: z.output<typeof cacheEviction>["images"] = [];
  let count = 0;
  let sum = 0;
  await evict(({ image, tags, reason, bytes }) => {
    count += 1;
    sum += bytes;
    if (images.length === mostListed) return;
    const { repository, digest } = image;
    images.push({ repository: formatRepository(repository), digest, tags: [...tags], reason, bytes });
  }, dryRun);
  return { dryRun, count, bytes: sum, images };
}

function pinsOf({ pins }: CacheKeeper): z.output<typeof cachePins> {
  return { pins: pins.list().map(({ pattern, origin }) => ({ image: pattern.text, origin })) };
}

function shown(image: KeptImage): z.output<typeof cacheImages>["images"][number] {
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

/** The image that ended the page before, as this API wrote it. */
function readLast(text: string, context: z.RefinementCtx<string>): Held {
  const [, upstream = "", path = "", hash = ""] = /^([^/@]+)\/([^@]+)@(.+)$/.exec(text) ?? [];
  const name = parseRepositoryName(path);
  const digest = parseDigest(hash);
  if (name && digest) return { repository: { upstream, name }, digest };
  context.addIssue({ code: "custom", message: "not the end of a page" });
  return z.NEVER;
}
