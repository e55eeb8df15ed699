/** `hubcap cache`: what a running Hubcap holds, and what it is to let go of or to keep. */
import { UsageError } from "./exit.ts";
import { StatusApi, type ApiAnswer } from "./statusApi.ts";
import { bytesText } from "../async/text.ts";
import { table } from "./quotaTable.ts";

/** The command's options as they were given. */
export interface CacheOptions {
  readonly status: string | undefined;
  readonly tokenFile: string | undefined;
  readonly dryRun: boolean;
  readonly json: boolean;
}

interface Summary {
  readonly bytes: number;
  readonly capacity: number;
  readonly blobs: number;
  readonly manifests: number;
}

interface Image {
  readonly repository: string;
  readonly digest: string;
  readonly tags: readonly string[];
  readonly bytes: number;
}

interface Page {
  readonly images: readonly ListedImage[];
}

interface ListedImage extends Image {
  readonly pinned: boolean;
  readonly usedAt: string;
  readonly uses: number;
}

interface Eviction {
  readonly dryRun: boolean;
  readonly count: number;
  readonly bytes: number;
  readonly images: readonly (Image & { readonly reason: string })[];
}

interface PinList {
  readonly pins: readonly { readonly image: string; readonly origin: string }[];
}

/** Removing many images takes a while, and nothing is sent until it is done. */
const patienceMs = 10 * 60_000;

type Action = (api: StatusApi, images: readonly string[], options: CacheOptions) => Promise<void>;

const actions: Readonly<Record<string, { readonly run: Action; readonly takesImages: boolean }>> = {
  ls: { run: list, takesImages: false },
  rm: { run: remove, takesImages: true },
  evict: { run: evict, takesImages: false },
  pins: { run: listPins, takesImages: false },
  pin: { run: (api, images, options) => changePins(api, "PUT", images, options), takesImages: true },
  unpin: { run: (api, images, options) => changePins(api, "DELETE", images, options), takesImages: true },
};

/** Does what the operands say. @throws UsageError; Error when Hubcap cannot be asked or refuses. */
export async function cache(operands: readonly string[], options: CacheOptions): Promise<void> {
  const [name = "", ...images] = operands;
  const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
  if (!action) throw wrong(`one of ${Object.keys(actions).join(", ")} must follow`);
  if (action.takesImages !== images.length > 0) {
    throw wrong(action.takesImages ? `${name} needs an image` : `${name} takes no image`);
  }
  const { status, tokenFile } = options;
  await action.run(new StatusApi({ command: "cache", status, tokenFile, patienceMs }), images, options);
}

async function list(api: StatusApi, _images: readonly string[], { json }: CacheOptions): Promise<void> {
  const summary = (await api.ask<Summary>("/api/v1/cache", "capacity")).body;
  const images: ListedImage[] = [];
  for (let path: string | undefined = "/api/v1/cache/images?n=1000"; path !== undefined;) {
    const page: ApiAnswer<Page> = await api.ask<Page>(path, "images");
    images.push(...page.body.images);
    path = page.next;
  }
  if (json) return print(JSON.stringify({ ...summary, images }, undefined, 2));
  const rows = images.map((image) => [
    nameOf(image),
    bytesText(image.bytes),
    image.usedAt.slice(0, 16).replace("T", " "),
    String(image.uses),
    image.pinned ? "pinned" : "",
  ]);
  if (rows.length > 0) print(table(["IMAGE", "SIZE", "LAST USED (UTC)", "USES", ""], rows));
  const { bytes, capacity, blobs } = summary;
  print(`${images.length} images, ${blobs} blobs, ${bytesText(bytes)} of ${bytesText(capacity)}`);
}

async function remove(api: StatusApi, images: readonly string[], options: CacheOptions): Promise<void> {
  for (const image of images) {
    const query = new URLSearchParams({ image, dryRun: String(options.dryRun) });
    const path = `/api/v1/cache/images?${query.toString()}`;
    show((await api.ask<Eviction>(path, "dryRun", "DELETE")).body, options);
  }
}

async function evict(api: StatusApi, _images: readonly string[], options: CacheOptions): Promise<void> {
  const path = `/api/v1/cache/evict?dryRun=${String(options.dryRun)}`;
  show((await api.ask<Eviction>(path, "dryRun", "POST")).body, options);
}

async function listPins(api: StatusApi, _images: readonly string[], { json }: CacheOptions): Promise<void> {
  const { body } = await api.ask<PinList>("/api/v1/cache/pins", "pins");
  if (json) return print(JSON.stringify(body, undefined, 2));
  for (const { image, origin } of body.pins) {
    print(origin === "configuration" ? `${image}  (in the configuration)` : image);
  }
}

async function changePins(
  api: StatusApi,
  method: "PUT" | "DELETE",
  images: readonly string[],
  options: CacheOptions,
): Promise<void> {
  for (const image of images) {
    await api.ask<PinList>(`/api/v1/cache/pins?${new URLSearchParams({ image }).toString()}`, "pins", method);
  }
  await listPins(api, [], options);
}

function show(eviction: Eviction, { json }: CacheOptions): void {
  if (json) return print(JSON.stringify(eviction, undefined, 2));
  const { dryRun, count, bytes, images } = eviction;
  const rows = images.map((image) => [nameOf(image), bytesText(image.bytes), image.reason]);
  if (rows.length > 0) print(table(["IMAGE", "SIZE", "REASON"], rows));
  if (count > images.length) print(`and ${count - images.length} more`);
  print(`${count} images, ${bytesText(bytes)} ${dryRun ? "would go" : "are gone"}`);
}

function nameOf({ repository, digest, tags }: Image): string {
  const [first, ...more] = tags;
  if (first === undefined) return `${repository}@${digest.slice(0, 19)}`;
  return `${repository}:${[first, ...more].join(",")}`;
}

function wrong(reason: string): UsageError {
  return new UsageError(`${reason}. See hubcap cache --help`);
}

function print(text: string): void {
  console.log(text);
}
