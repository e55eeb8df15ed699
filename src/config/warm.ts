/** The section `warm`: what is fetched before anybody asks for it, and when. */
import { Cron } from "croner";
import { z } from "zod";
import { parseImage } from "../oci/image.ts";
import { RegistryError } from "../oci/error.ts";
import type { Routing } from "../oci/target.ts";
import type { Report } from "./issue.ts";
import { duration, platform, written } from "./values.ts";

const cronExpected =
  'a cron expression of five parts in quotes, such as "30 3 * * *" for half past three each night';

/** A time that comes again; stays as it is written. */
function cron() {
  return written("cron expression", /\S/, cronExpected, (text) => {
    try {
      // One that never comes, such as the 31st of February, is none.
      return new Cron(text, { paused: true, mode: "5-part" }).nextRun() ? text : undefined;
    } catch {
      return undefined;
    }
  });
}

function timeZone() {
  return written("time zone", /./, "a time zone such as UTC or Europe/Berlin", (text) => {
    try {
      Intl.DateTimeFormat("en", { timeZone: text });
      return text;
    } catch {
      return undefined;
    }
  });
}

/** The name of a namespace (RFC 1123 label). */
function namespace() {
  const grammar = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
  return written("namespace", grammar, "the name of a namespace", (text) => text);
}

const list = z.strictObject({
  images: z.array(z.string().min(1)).min(1).describe("The images, such as `docker.io/library/nginx:1.29`."),
  platforms: z.array(platform()).exactOptional().describe("Their platforms; `warm.platforms` unless set."),
  schedule: cron()
    .exactOptional()
    .describe('When they are fetched: a cron expression such as `"30 3 * * *"`.'),
  timeZone: timeZone().prefault("UTC").describe("The time zone of `schedule`."),
  onStart: z.boolean().prefault(false).describe("Whether they are fetched when Hubcap starts."),
  pin: z.boolean().prefault(false).describe("Whether they are never evicted."),
});

const cluster = z.strictObject({
  enabled: z
    .boolean()
    .prefault(false)
    .describe("Fetches and pins the images that the cluster's pods use, as the Kubernetes API lists them."),
  every: duration({ min: "5s", max: "1d" }).prefault("5m").describe("How often the pods are listed."),
  namespaces: z
    .array(namespace())
    .prefault([])
    .describe("Only the pods of these namespaces; of all unless set."),
  kubeconfig: z
    .string()
    .min(1)
    .exactOptional()
    .describe(
      "The kubeconfig file; unless set, `KUBECONFIG`, `~/.kube/config`, or in a pod its service account.",
    ),
});

/** What `warm` may say. */
export const warm = z.strictObject({
  platforms: z
    .array(platform())
    .prefault(["linux/amd64"])
    .describe("The platforms of an index that are fetched by default; all, if the list is empty."),
  concurrency: z.int().min(1).max(64).prefault(2).describe("How many images are fetched at once."),
  lists: z
    .array(list)
    .prefault([])
    .describe(
      "Images to fetch by schedule or at the start: `images`, and `schedule` with `timeZone`, or `onStart: true`; `platforms`, and `pin: true` to keep them, are optional.",
    ),
  fromCluster: cluster.prefault({}).describe("The images that a Kubernetes cluster uses."),
});

/** The section as it is read. */
export type WarmSettings = z.output<typeof warm>;

/** Reports lists that can never be warmed, and images that no upstream is configured for. */
export function checkWarm({ lists }: WarmSettings, routing: Routing, report: Report): void {
  for (const [index, { images, schedule, onStart, pin }] of lists.entries()) {
    const at = ["warm", "lists", `${index}`];
    if (schedule === undefined && !onStart && !pin)
      report(at, "schedule, onStart: true or pin: true beside images");
    for (const [number, text] of images.entries()) {
      try {
        parseImage(text, routing);
      } catch (error) {
        if (!(error instanceof RegistryError)) throw error;
        report([...at, "images", `${number}`], `an image of a configured upstream: ${error.message}`);
      }
    }
  }
}
