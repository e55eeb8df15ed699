/** Pulls as real runtimes do it, request by request, and verifies every digest. */
import { Agent } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { PullSession, type Got, type PullResult } from "./pullSession.ts";

export interface PullOptions {
  /** `http://host:port` of the mirror. */
  readonly mirror: string;
  /** As it stands in the path, `library/nginx` or with the source host in front. */
  readonly repository: string;
  /** A tag or a digest. */
  readonly reference: string;
  /** The source host that containerd names in the query. */
  readonly ns?: string;
  /** Default `linux/amd64`. */
  readonly platform?: string;
  /** Blobs at a time. Default 3, podman's 6. */
  readonly parallel?: number;
  /** Headers of every request, as hosts.toml can set them. */
  readonly headers?: Readonly<Record<string, string>>;
  /** How often a request is sent in all when it is answered with 429. Default 5. */
  readonly attempts?: number;
  /** Waits between podman's attempts. Default really waits. */
  readonly pause?: (seconds: number) => Promise<void>;
  /** Milliseconds until an answer must begin. Default 30 000, containerd's. */
  readonly headerTimeout?: number;
  readonly signal?: AbortSignal;
  /** The address that the client has, such as `127.0.0.2`. */
  readonly from?: string;
}

interface IndexedDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

interface Document {
  readonly manifests?: readonly IndexedDescriptor[];
  readonly config?: IndexedDescriptor;
  readonly layers?: readonly IndexedDescriptor[];
}

const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
const ociManifest = "application/vnd.oci.image.manifest.v1+json";
const ociIndex = "application/vnd.oci.image.index.v1+json";

/** containerd 2: HEAD of the tag, then everything by digest; 429 is repeated at once. */
export function pullLikeContainerd(options: PullOptions): Promise<PullResult> {
  return pull(options, "containerd/2.1.9", async (session) => {
    const accept = [dockerManifest, dockerList, ociManifest, ociIndex, "*/*"].join(", ");
    const head = await session.send("HEAD", manifestPath(options, options.reference), { accept });
    const digest = head.headers["docker-content-digest"];
    if (head.status !== 200) {
      throw new Error(`HEAD ${options.reference}: ${head.status}`);
    }
    if (typeof digest !== "string" || head.headers["content-length"] === undefined) {
      // What containerd does with a HEAD that does not tell enough: the same again as a GET.
      return session.manifest(manifestPath(options, options.reference), { accept }, undefined);
    }
    return byDigest(session, options, digest, head.headers["content-type"] ?? "*/*");
  });
}

/** Docker Engine with graph drivers: a ping, HEAD of the tag (GET when that fails), then by digest. */
export function pullLikeDocker(options: PullOptions): Promise<PullResult> {
  return pull(options, "docker/29.7.2", async (session) => {
    await session.send("GET", "/v2/", {});
    const accept = [dockerManifest, dockerList, ociIndex, ociManifest].join(", ");
    const head = await session.send("HEAD", manifestPath(options, options.reference), { accept });
    const digest = head.headers["docker-content-digest"];
    return head.status === 200 && typeof digest === "string"
      ? byDigest(session, options, digest, accept)
      : session.manifest(manifestPath(options, options.reference), { accept }, undefined);
  });
}

/** podman, CRI-O and skopeo: a ping, then GET of the tag without a HEAD; 429 is repeated after a pause. */
export function pullLikePodman(options: PullOptions): Promise<PullResult> {
  const schema1 = "application/vnd.docker.distribution.manifest.v1";
  const accept = [
    ociManifest,
    dockerManifest,
    `${schema1}+prettyjws`,
    `${schema1}+json`,
    dockerList,
    ociIndex,
  ];
  const pause = options.pause ?? ((seconds: number): Promise<void> => wait(seconds * 1000));
  const patient = { parallel: 6, ...options, pause };
  return pull(patient, "containers/5.34.0 (github.com/containers/image)", async (session) => {
    const ping = await session.send("GET", "/v2/", {});
    if (ping.status !== 200) {
      throw new Error(`GET /v2/: ${ping.status}`);
    }
    const pinned = options.reference.includes(":") ? options.reference : undefined;
    return session.manifest(manifestPath(options, options.reference), { accept }, pinned);
  });
}

function withSource(options: PullOptions, path: string): string {
  return options.ns === undefined ? path : `${path}?ns=${encodeURIComponent(options.ns)}`;
}

function manifestPath(options: PullOptions, reference: string): string {
  return withSource(options, `/v2/${options.repository}/manifests/${reference}`);
}

function byDigest(session: PullSession, options: PullOptions, digest: string, accept: string): Promise<Got> {
  return session.manifest(manifestPath(options, digest), { accept: `${accept}, */*` }, digest);
}

async function pull(
  options: PullOptions,
  userAgent: string,
  root: (session: PullSession) => Promise<Got>,
): Promise<PullResult> {
  const agent = new Agent({
    keepAlive: true,
    ...(options.from !== undefined && { localAddress: options.from }),
  });
  const session = new PullSession({
    mirror: options.mirror,
    agent,
    headers: { "user-agent": userAgent, ...options.headers },
    attempts: options.attempts ?? 5,
    pause: options.pause,
    headerTimeout: options.headerTimeout ?? 60_000,
    signal: options.signal,
  });
  try {
    const top = await root(session);
    session.result.root = top.digest;
    const image = await platformOf(session, options, top);
    session.result.manifest = image.digest;
    const { config, layers = [] } = JSON.parse(image.bytes.toString()) as Document;
    session.result.imageId = config?.digest;
    const blobs = new Map(
      [config, ...layers].filter((blob) => blob !== undefined).map((blob) => [blob.digest, blob]),
    );
    await session.blobs(
      [...blobs.values()].map(({ digest, size }) => ({
        digest,
        size,
        path: withSource(options, `/v2/${options.repository}/blobs/${digest}`),
      })),
      options.parallel ?? 3,
    );
  } catch (error) {
    session.result.errors.push(error instanceof Error ? error.message : String(error));
  } finally {
    agent.destroy();
  }
  return session.result;
}

/** The manifest of the wanted platform: the top itself, or the child that the index names. */
async function platformOf(session: PullSession, options: PullOptions, top: Got): Promise<Got> {
  const { manifests } = JSON.parse(top.bytes.toString()) as Document;
  if (manifests === undefined) {
    return top;
  }
  const wanted = options.platform ?? "linux/amd64";
  const child = manifests.find(
    ({ platform }) =>
      platform !== undefined &&
      [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/") === wanted,
  );
  if (child === undefined) {
    throw new Error(`no match for platform ${wanted}`);
  }
  return byDigest(session, options, child.digest, child.mediaType);
}
