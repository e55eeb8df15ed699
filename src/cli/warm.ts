/** `hubcap warm`: has a running Hubcap fetch images ahead, and shows how far that is. */
import { setTimeout as pause } from "node:timers/promises";
import { imagesUsed } from "../cluster/imageUse.ts";
import { listUsedImages } from "../cluster/pods.ts";
import { parsePlatform, platformExpected } from "../oci/platform.ts";
import { duration, bytesText } from "../async/text.ts";
import { UsageError } from "./exit.ts";
import { readImageFile, type ListedImage } from "./imageList.ts";
import { Progress } from "./progress.ts";
import { Refusal, StatusApi } from "./statusApi.ts";

/** The command's options as they were given. */
export interface WarmOptions {
  readonly status: string | undefined;
  readonly tokenFile: string | undefined;
  readonly file: string | undefined;
  readonly platforms: readonly string[] | undefined;
  readonly fromCluster: boolean;
  readonly namespaces: readonly string[];
  readonly kubeconfig: string | undefined;
  readonly wait: boolean;
  readonly json: boolean;
}

/** How long one answer of the status API may take, in ms. */
const patienceMs = 10_000;

/** How often a job is looked at, in ms, and for how long Hubcap may be away meanwhile: it goes on after a restart. */
const lookEveryMs = 300;
const mostAwayMs = 60_000;

/** More images than the API takes at once are ordered one part after the other. */
const mostOrdered = 1000;

/** Settles when all images are held. @throws UsageError; Error when Hubcap refuses, or not all are held in the end. */
export async function warm(operands: readonly string[], options: WarmOptions): Promise<void> {
  const platforms = readPlatforms(options.platforms);
  const { status, tokenFile, file, fromCluster, wait, json } = options;
  if (!fromCluster && (options.namespaces.length > 0 || options.kubeconfig !== undefined)) {
    throw wrong("--namespace and --kubeconfig belong to --from-cluster");
  }
  const listed: ListedImage[] = [
    ...operands.map((image) => ({ image, place: "command line" })),
    ...(file === undefined ? [] : readImageFile(file)),
  ];
  if (listed.length === 0 && !fromCluster) {
    throw wrong(
      file === undefined ? "it needs an image, -f FILE or --from-cluster" : `no image is listed in ${file}`,
    );
  }
  const api = new StatusApi({ command: "warm", status, tokenFile, patienceMs });
  if (fromCluster) listed.push(...(await pinUsed(api, options)));
  const ended: Job[] = [];
  for (let at = 0; at < listed.length; at += mostOrdered) {
    const part = listed.slice(at, at + mostOrdered);
    const order = { images: part.map(({ image }) => image), ...(platforms && { platforms }), wait };
    const job = await submit(api, order, part);
    ended.push(await follow(api, job));
  }
  conclude(ended, json);
}

function readPlatforms(given: readonly string[] | undefined): readonly string[] | undefined {
  if (given === undefined) return undefined;
  if (given.length === 1 && given[0] === "all") return [];
  const bad = given.filter((text) => !parsePlatform(text));
  if (bad.length > 0) {
    throw wrong(
      `--platform takes ${platformExpected}, or all; not ${bad.map((text) => JSON.stringify(text)).join(", ")}`,
    );
  }
  return given;
}

/** The images that the cluster's pods use, which are pinned in the place of those that they used before. */
async function pinUsed(api: StatusApi, { namespaces, kubeconfig }: WarmOptions): Promise<ListedImage[]> {
  const { body } = await api.ask<{ upstreams: readonly { name: string }[] }>("/api/v1/quota", "upstreams");
  // Throws when any part of the list is missing: what is pinned then stays pinned.
  const used = await listUsedImages({ namespaces, kubeconfig });
  const { images, others } = imagesUsed(used, new Set(body.upstreams.map(({ name }) => name)));
  const names = images.map(({ name }) => name);
  await api.ask<{ pins: unknown }>("/api/v1/cache/pins/cluster", "pins", "PUT", { images: names });
  console.error(`the cluster uses ${count(names.length, "image")} of the upstreams that are served`);
  if (others.length > 0) console.error(`left out, as their registries are not served: ${others.join(", ")}`);
  return names.map((image) => ({ image, place: "cluster" }));
}

async function submit(api: StatusApi, order: object, listed: readonly ListedImage[]): Promise<Job> {
  try {
    return (await api.ask<Job>("/api/v1/warm", "images", "POST", order)).body;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const { images } = error.answer as { images?: readonly { image: string; error: string }[] };
    if (!images) throw error;
    const reasons = new Map(images.map(({ image, error }) => [image, error]));
    const bad = listed.filter(({ image }) => reasons.has(image));
    for (const { image, place } of bad) console.error(`${place}: ${image}: ${reasons.get(image)}`);
    throw new Error(
      `${bad.length} of ${count(listed.length, "image")} cannot be warmed, so none is: correct the above`,
      {
        cause: error,
      },
    );
  }
}

/** The job when it has ended. Interrupted, it is cancelled. */
async function follow(api: StatusApi, begun: Job): Promise<Job> {
  const path = `/api/v1/warm/${begun.id}`;
  const progress = new Progress("warming", 0);
  const printed = new Set<string>();
  const cancel = (): void => void api.ask<Job>(path, "images", "DELETE").catch(() => {});
  process.once("SIGINT", cancel);
  let job = begun;
  try {
    for (let seenAt = performance.now(); ;) {
      tell(job, printed, progress);
      if (job.endedAt !== null) return job;
      await pause(lookEveryMs);
      try {
        job = (await api.ask<Job>(path, "images")).body;
        seenAt = performance.now();
      } catch (error) {
        if (error instanceof Refusal || performance.now() - seenAt > mostAwayMs) throw error;
      }
    }
  } finally {
    process.off("SIGINT", cancel);
    progress.end();
  }
}

/** Writes what is new. */
function tell(job: Job, printed: Set<string>, progress: Progress): void {
  for (const image of job.images) {
    const line = lineOf(image, job);
    if (line === undefined || printed.has(line)) continue;
    printed.add(line);
    progress.line(line);
  }
  const isWaiting = job.state === "waiting";
  if (isWaiting && job.goOnAt !== null && !printed.has(job.goOnAt)) {
    printed.add(job.goOnAt);
    progress.line(`waiting for quota, at the latest until ${job.goOnAt}; ${count(job.left, "image")} left`);
  }
  progress.reach(job.bytes, job.totalBytes);
}

/** What is to be said of an image, once there is something. */
function lineOf({ image, state, error, totalBytes }: JobImage, { endedAt }: Job): string | undefined {
  if (state === "held") return `held ${image}${totalBytes > 0 ? `, ${bytesText(totalBytes)} came in` : ""}`;
  if (state === "failed") return `failed ${image}: ${error}`;
  return endedAt !== null && state === "waiting" ? `left ${image}: ${error}` : undefined;
}

function conclude(jobs: readonly Job[], json: boolean): void {
  const images = jobs.flatMap(({ images }) => images);
  const held = images.filter(({ state }) => state === "held").length;
  const failed = images.filter(({ state }) => state === "failed").length;
  const left = images.length - held - failed;
  if (json) console.log(JSON.stringify({ total: images.length, held, failed, left, images }, undefined, 2));
  else console.log(`${held} of ${count(images.length, "image")} ${images.length === 1 ? "is" : "are"} held`);
  if (held === images.length) return;
  const times = images.flatMap(({ state, retryAt }) =>
    state === "waiting" && retryAt !== null ? [retryAt] : [],
  );
  const parts = [
    failed > 0 ? `${failed} failed` : "",
    jobs.some(({ state }) => state === "cancelled")
      ? `${left} cancelled`
      : left > 0
        ? leftText(left, times)
        : "",
  ];
  throw new Error(parts.filter((part) => part !== "").join("; "));
}

function leftText(left: number, times: readonly string[]): string {
  const [first] = times.toSorted();
  const what = `${left} left for want of quota`;
  if (first === undefined) return `${what}: hubcap quota tells when there is more`;
  const inMs = Math.max(1000, Date.parse(first) - Date.now());
  return `${what}: go on at ${first} (in ${duration(inMs)}), or use --wait`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function wrong(reason: string): UsageError {
  return new UsageError(`${reason}. See hubcap warm --help`);
}

export interface JobImage {
  readonly image: string;
  readonly state: string;
  readonly error: string | null;
  readonly retryAt: string | null;
  readonly totalBytes: number;
}

export interface Job {
  readonly id: string;
  readonly state: string;
  readonly endedAt: string | null;
  readonly goOnAt: string | null;
  readonly left: number;
  readonly bytes: number;
  readonly totalBytes: number;
  readonly images: readonly JobImage[];
}
