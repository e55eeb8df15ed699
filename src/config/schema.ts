/**
 * Every setting, once: its kind, its default and the sentence that explains it. The parser, the environment variables,
 * config/hubcap.schema.json and docs/configuration.md all come from here; after a change run `npm run docs`.
 */
import { z } from "zod";
import { access, identities } from "./access.ts";
import { alerts } from "./alerts.ts";
import { folder, secretFile, outputFile } from "./files.ts";
import { limits } from "./limits.ts";
import { policy } from "./policy.ts";
import { tls } from "./tls.ts";
import { tracing } from "./tracing.ts";
import { upstream } from "./upstream.ts";
import { duration, imagePattern, listen, share, size, sourceHost } from "./values.ts";
import { verification } from "./verify.ts";
import { warm } from "./warm.ts";

const retention = z.strictObject({
  match: imagePattern().describe("The images that this rule applies to, such as `docker.io/library/*`."),
  maxAge: duration({ min: "1m" })
    .exactOptional()
    .describe("How long after it was fetched an image is evicted."),
  unusedFor: duration({ min: "1m" })
    .exactOptional()
    .describe("How long after its last use an image is evicted."),
});

const audit = z.strictObject({
  file: outputFile()
    .exactOptional()
    .describe("The file to which lines are appended; reopened when it was renamed, and on SIGHUP."),
  stdout: z
    .boolean()
    .prefault(false)
    .describe("Writes the lines to standard output instead, among those of the log."),
});

/** The configuration as it is written. `z.output` of it is what `load.ts` completes. */
export const schema = z.strictObject({
  registry: z
    .strictObject({
      listen: listen().prefault("0.0.0.0:5000").describe("Where clients pull."),
      stall: duration({ min: "1s", max: "1h" })
        .prefault("2m")
        .describe("How long a client may read nothing of a reply before its connection is closed."),
      tls: tls.exactOptional().describe("TLS at the mirror endpoint; plain HTTP without."),
    })
    .prefault({})
    .describe("The mirror endpoint."),
  status: z
    .strictObject({
      listen: listen().prefault("0.0.0.0:5001").describe("Where health, metrics and the status API answer."),
      tls: tls.exactOptional().describe("TLS at the endpoint for operators; plain HTTP without."),
    })
    .prefault({})
    .describe("The endpoint for operators."),
  admin: z
    .strictObject({
      tokenFile: secretFile()
        .exactOptional()
        .describe("A file with the token that these calls need; without it they do not exist."),
    })
    .prefault({})
    .describe("Calls of the status API that change something."),
  identities: identities.prefault({}).describe("How clients authenticate, for the rules of `access`."),
  access,
  storage: z
    .strictObject({
      root: folder().prefault("storage").describe("The data folder."),
      capacity: size()
        .prefault("50GiB")
        .describe("Cache size; beyond it the least recently used images are evicted."),
      highWater: share().prefault("90%").describe("The share of `capacity` at which eviction begins."),
      lowWater: share().prefault("80%").describe("The share of `capacity` at which eviction ends."),
      pins: z
        .array(imagePattern())
        .prefault([])
        .describe(
          "Images that are never evicted: an image, a glob over repositories such as `docker.io/library/*`, or a digest.",
        ),
      retention: z
        .array(retention)
        .prefault([])
        .describe(
          "Rules by which images are evicted even if there is space, each with an image pattern as `match`, and `maxAge` since it was fetched or `unusedFor` since it was last asked for; the first that matches an image counts.",
        ),
      minFree: size()
        .prefault("1GiB")
        .describe(
          "Free space that is left on the volume, for the catalog and its log; with less, blobs are passed through and not stored.",
        ),
      scrub: z
        .strictObject({
          rate: size("1kB").prefault("20MB").describe("The most bytes read per second."),
          every: duration({ min: "1s" }).prefault("30d").describe("How often each blob is read again."),
        })
        .prefault({})
        .describe("Reading blobs again to find damaged ones."),
    })
    .prefault({})
    .describe("The disk."),
  freshness: z
    .strictObject({
      tagTtl: duration().prefault("5m").describe("How long a tag is served without checking it upstream."),
      staleIfError: duration()
        .prefault("30d")
        .describe("How old a tag may be served when its upstream cannot be asked."),
    })
    .prefault({})
    .describe("How long tags, the only thing that can change, are served without being confirmed."),
  quota: z
    .strictObject({
      low: share()
        .prefault("30%")
        .describe("Below this share of an upstream's limit, tags are checked less often and warming stops."),
      reserve: share()
        .prefault("10%")
        .describe("Below this share, only images that are not held are pulled."),
      lowTtlFactor: z
        .number()
        .min(1)
        .prefault(6)
        .describe(
          "How many times longer than `freshness.tagTtl` tags are served without a check below `low`.",
        ),
      perClient: share()
        .exactOptional()
        .describe(
          "The share of an upstream's limit that one client may spend in its window; without it, no client is limited.",
        ),
    })
    .prefault({})
    .describe("What changes as an upstream's quota runs out."),
  limits: limits.prefault({}).describe("Limits for clients of Hubcap itself."),
  policy: policy.prefault({}).describe("What may be pulled, by any client: see docs/policy.md."),
  warm: warm.prefault({}).describe("Fetching images before clients request them."),
  verify: z
    .array(verification)
    .prefault([])
    .describe(
      "Which images have to be signed, and by which keys or identities: each entry has `repositories` and `cosign`, and the first that matches counts. See docs/policy.md.",
    ),
  workers: z
    .int()
    .min(1)
    .max(64)
    .prefault(1)
    .describe(
      "How many processes answer clients (Linux): one fetches and decides, the others serve what is held. More than 1 cannot be combined with `access`, `policy`, `verify` or `tracing`.",
    ),
  shutdown: z
    .strictObject({
      grace: duration({ max: "1h" })
        .prefault("30s")
        .describe("How long running downloads may take to finish after SIGTERM."),
    })
    .prefault({})
    .describe("How the process stops."),
  log: z
    .strictObject({
      level: z
        .enum(["debug", "info", "warn", "error"])
        .prefault("info")
        .describe("The least severity that is logged."),
    })
    .prefault({})
    .describe("The log, in JSON lines on standard output."),
  tracing: tracing.prefault({}).describe("Traces of pulls, sent to an OpenTelemetry collector."),
  audit: audit
    .prefault({})
    .describe("One JSON line for every pull: client, image, and result. Without `file` or `stdout`, none."),
  alerts: alerts
    .prefault([])
    .describe(
      "Webhooks that get a message when a problem begins and when it ends, each with `url` or `urlFile`, and `on`, `format` and `minInterval`; see docs/operations.md.",
    ),
  defaultUpstream: sourceHost().prefault("docker.io").describe("The upstream of image names without a host."),
  upstreams: z
    .record(sourceHost(), upstream)
    .prefault({ "docker.io": {} })
    .describe(
      "The registries that may be pulled from, by the host in their image names; no other host is ever contacted.",
    ),
});

/** The configuration as it is read, before presets and credentials complete it. */
export type Settings = z.output<typeof schema>;
