/**
 * Every setting, once: its kind, its default and the sentence that explains it. The parser, the environment variables,
 * config/hubcap.schema.json and docs/configuration.md all come from here; after a change run `npm run docs`.
 */
import { z } from "zod";
import { access, identities } from "./access.ts";
import { tls } from "./tls.ts";
import { policy } from "./policy.ts";
import { alerts } from "./alerts.ts";
import { audit } from "./audit.ts";
import { limits } from "./limits.ts";
import { tracing } from "./tracing.ts";
import { verification } from "./verify.ts";
import {
  certificateFile,
  credentialFile,
  duration,
  folder,
  imagePattern,
  listen,
  origin,
  secret,
  secretFile,
  share,
  size,
  sourceHost,
} from "./values.ts";
import { warm } from "./warm.ts";

const credential = z.strictObject({
  username: z
    .string()
    .min(1)
    .exactOptional()
    .describe("The account that pulls; goes with `password` or `passwordFile`."),
  password: secret().exactOptional().describe("The account's password or access token."),
  passwordFile: credentialFile()
    .exactOptional()
    .describe("A file that holds the password or access token; followed when it changes."),
  dockerConfigFile: credentialFile()
    .exactOptional()
    .describe(
      "A Docker `config.json`, as in a `kubernetes.io/dockerconfigjson` secret, with a login for the host of `url`; followed when it changes.",
    ),
  provider: z
    .enum(["ecr", "acr"])
    .exactOptional()
    .describe(
      "A cloud whose identity is exchanged for a login: `ecr` by the AWS SDK's chain of identities, `acr` by a Microsoft Entra access token.",
    ),
  region: z
    .string()
    .min(1)
    .exactOptional()
    .describe("For `ecr`: the region, where the host does not name it."),
  registryId: z
    .string()
    .min(1)
    .exactOptional()
    .describe("For `ecr`: the account of the registry, where the host does not name it."),
  accessTokenFile: credentialFile()
    .exactOptional()
    .describe("For `acr`: a file in which somebody keeps an access token fresh."),
  tenant: z
    .string()
    .min(1)
    .exactOptional()
    .describe("For `acr`: the tenant, where the registry does not know it."),
});

const timeouts = z.strictObject({
  connect: duration({ min: "100ms", max: "1h" }).prefault("5s").describe("How long connecting may take."),
  headers: duration({ min: "100ms", max: "1h" })
    .prefault("15s")
    .describe("How long the upstream may take to begin its answer."),
  stall: duration({ min: "100ms", max: "1h" })
    .prefault("30s")
    .describe("How long a running download may bring nothing before it is resumed on a new connection."),
});

const upstreamQuota = z.strictObject({
  limit: z
    .int()
    .min(1)
    .exactOptional()
    .describe("Pulls per window, used until the upstream says what it allows."),
  window: duration({ min: "1s" }).exactOptional().describe("The window that `limit` counts in."),
  reserve: share()
    .exactOptional()
    .describe("The share that only first pulls may spend; `quota.reserve` unless set."),
  // containerd gives up on an answer that has not begun after 30 s.
  maxWait: duration({ max: "29s" })
    .prefault("15s")
    .describe("How long a pull may wait for its turn before it is refused."),
  minInterval: duration({ max: "1h" })
    .exactOptional()
    .describe("The least time between two requests that count; known upstreams bring their own."),
  concurrency: z.int().min(1).prefault(16).describe("How many requests may run at once."),
});

const upstream = z.strictObject({
  url: origin()
    .exactOptional()
    .describe(
      "Where the registry answers; known for the usual public registries and the private ones of the clouds.",
    ),
  tokenRealms: z
    .array(origin())
    .exactOptional()
    .describe(
      "The only origins, besides the registry, that may see the credential; the origin of `url` unless known.",
    ),
  credential: credential
    .exactOptional()
    .describe("The one account that pulls for everybody; anonymous without it."),
  allowPrivateAddresses: z
    .boolean()
    .prefault(false)
    .describe("Allows http and private addresses, for upstreams on the own premises."),
  ca: certificateFile()
    .exactOptional()
    .describe("A PEM file with certificates to trust besides the system's."),
  timeouts: timeouts.prefault({}).describe("When a request to the upstream is given up."),
  quota: upstreamQuota.prefault({}).describe("What may be spent at the upstream."),
  whenExhausted: z
    .enum(["hold", "fallback"])
    .prefault("hold")
    .describe(
      "With nothing left, `hold` answers 429 and `fallback` 503, so that runtimes ask the registry themselves.",
    ),
  alternates: z
    .array(sourceHost())
    .prefault([])
    .describe("Other configured upstreams that are asked for uncached images before refusing."),
});

const retention = z.strictObject({
  match: imagePattern().describe("The images that this rule is for, such as `docker.io/library/*`."),
  maxAge: duration({ min: "1m" })
    .exactOptional()
    .describe("How long after it was fetched an image is let go of."),
  unusedFor: duration({ min: "1m" })
    .exactOptional()
    .describe("How long after it was last asked for an image is let go of."),
});

/** The configuration as it is written. `z.output` of it is what `load.ts` completes. */
export const schema = z.strictObject({
  registry: z
    .strictObject({
      listen: listen().prefault("0.0.0.0:5000").describe("Where clients pull."),
      stall: duration({ min: "1s", max: "1h" })
        .prefault("2m")
        .describe("How long a client may take nothing of what waits for it before it is cut."),
      tls: tls.exactOptional().describe("Certificates of the mirror endpoint; plain HTTP without."),
    })
    .prefault({})
    .describe("The mirror endpoint."),
  status: z
    .strictObject({
      listen: listen().prefault("0.0.0.0:5001").describe("Where health, metrics and the status API answer."),
      tls: tls.exactOptional().describe("Certificates of the endpoint for operators; plain HTTP without."),
    })
    .prefault({})
    .describe("The endpoint for operators."),
  admin: z
    .strictObject({
      tokenFile: secretFile()
        .exactOptional()
        .describe("A file with the token that changing calls need; without it there are none."),
    })
    .prefault({})
    .describe("Calls of the status API that change something."),
  identities: identities
    .prefault({})
    .describe("By what clients prove who they are, for the rules of `access`."),
  access,
  storage: z
    .strictObject({
      root: folder().prefault("storage").describe("The folder that holds everything fetched."),
      capacity: size().prefault("50GiB").describe("How many bytes of blobs are kept."),
      highWater: share()
        .prefault("90%")
        .describe("How full, of `capacity`, the cache gets before images are evicted."),
      lowWater: share().prefault("80%").describe("How full it is when evicting ends."),
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
          "Rules by which images go even where there is room, each with an image pattern as `match`, and `maxAge` since it was fetched or `unusedFor` since it was last asked for; the first that matches an image counts.",
        ),
      minFree: size()
        .prefault("1GiB")
        .describe(
          "What blobs leave free on the volume, for the catalog and its log; without it, they pass through.",
        ),
      scrub: z
        .strictObject({
          rate: size("1kB").prefault("20MB").describe("Bytes per second that are read again at most."),
          every: duration({ min: "1s" }).prefault("30d").describe("How often each blob is read again."),
        })
        .prefault({})
        .describe("Reading blobs again to find those that have rotted."),
    })
    .prefault({})
    .describe("The disk."),
  freshness: z
    .strictObject({
      tagTtl: duration().prefault("5m").describe("How long a tag is believed without asking its upstream."),
      staleIfError: duration()
        .prefault("30d")
        .describe("How old a tag may be served when its upstream cannot answer."),
    })
    .prefault({})
    .describe("How long a tag, the only thing that can change, is believed."),
  quota: z
    .strictObject({
      low: share()
        .prefault("30%")
        .describe("Below this share of an upstream's limit, tags are believed longer and warming stops."),
      reserve: share().prefault("10%").describe("Below this share only first pulls are made."),
      lowTtlFactor: z
        .number()
        .min(1)
        .prefault(6)
        .describe("How many times longer tags are believed below `low`."),
      perClient: share()
        .exactOptional()
        .describe(
          "The share of an upstream's limit that one client may spend in its window; without it, nobody is held back for others.",
        ),
    })
    .prefault({})
    .describe("The steps taken as an upstream's quota runs out."),
  limits: limits.prefault({}).describe("What clients may ask of Hubcap itself."),
  policy: policy.prefault({}).describe("What may be pulled, whoever asks: see docs/policy.md."),
  warm: warm.prefault({}).describe("Fetching images before anybody asks for them."),
  verify: z
    .array(verification)
    .prefault([])
    .describe(
      "Which images have to be signed, and by whom: each entry has `repositories` and `cosign`, and the first that matches counts. See docs/policy.md.",
    ),
  workers: z
    .int()
    .min(1)
    .max(64)
    .prefault(1)
    .describe(
      "How many processes answer clients (Linux): one decides and fetches, the others serve what is held. Not above 1 beside `access`, `policy`, `verify` or `tracing`.",
    ),
  shutdown: z
    .strictObject({
      grace: duration({ max: "1h" })
        .prefault("30s")
        .describe("How long running downloads may take to finish after SIGTERM."),
    })
    .prefault({})
    .describe("The end of the process."),
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
    .describe("One JSON line for every pull: who, what, and how it ended. Without `file` or `stdout`, none."),
  alerts: alerts
    .prefault([])
    .describe(
      "Webhooks that are told of what goes wrong and when it is over, each with `url` or `urlFile`, and `on`, `format` and `minInterval`; see docs/operations.md.",
    ),
  defaultUpstream: sourceHost()
    .prefault("docker.io")
    .describe("The upstream of image names that come without a host."),
  upstreams: z
    .record(sourceHost(), upstream)
    .prefault({ "docker.io": {} })
    .describe(
      "The registries that may be pulled from, by the host in their image names; no other host is ever contacted.",
    ),
});

/** The configuration as it is read, before presets and credentials complete it. */
export type Settings = z.output<typeof schema>;

/** One upstream as it is read. */
export type UpstreamSettings = z.output<typeof upstream>;

/** A credential as it is read. */
export type CredentialSettings = z.output<typeof credential>;
