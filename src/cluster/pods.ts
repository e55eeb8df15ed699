/** The images that a cluster's pods run, as the Kubernetes API lists them. Its client is only loaded when it is needed. */
import type { CoreV1Api, RequestContext, ResponseContext, V1Pod, V1PodList } from "@kubernetes/client-node";
import { ClusterError } from "./clusterError.ts";

/** One container: the image in its pod's spec, and the one that the runtime reports once it has been pulled. */
export interface UsedImage {
  readonly image: string;
  readonly imageId: string | undefined;
}

export interface PodsOptions {
  /** A kubeconfig file; without one the usual places, in a pod its service account. */
  readonly kubeconfig: string | undefined;
  /** Only these; all when empty. */
  readonly namespaces: readonly string[];
  /** How long the API may take for one page of pods; half a minute unless given. */
  readonly patienceMs?: number;
}

const usualPatienceMs = 30_000;

/** Pods per page: some hundred kilobytes of JSON. */
const pageSize = 500;

/** How often a list is restarted when it took so long that the API dropped its position. */
const mostBeginnings = 3;

/** Finished pods have their images no longer. */
const unfinished = "status.phase!=Succeeded,status.phase!=Failed";

/**
 * The images of all containers of pods that run or are pending, init and ephemeral containers included. Only complete lists:
 * a partial one would unpin what it lacks.
 * @throws ClusterError
 */
export async function listUsedImages(options: PodsOptions): Promise<readonly UsedImage[]> {
  const { namespaces, patienceMs = usualPatienceMs } = options;
  const bounds = new Bounds(patienceMs);
  const { api, server } = await connect(options.kubeconfig, bounds);
  try {
    const used: UsedImage[] = [];
    for (const namespace of namespaces.length > 0 ? namespaces : [undefined]) {
      try {
        used.push(...(await listNamespace(api, namespace)));
      } catch (error) {
        throw ClusterError.of(error, server, namespace, patienceMs);
      }
    }
    return used;
  } finally {
    await bounds.close();
  }
}

async function connect(kubeconfig: string | undefined, bounds: Bounds) {
  const { CoreV1Api, createConfiguration, KubeConfig, ServerConfiguration } =
    await import("@kubernetes/client-node");
  const config = new KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "it cannot be read";
    throw new ClusterError(`the kubeconfig cannot be used: ${reason}`, { cause: error });
  }
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new ClusterError("the kubeconfig names no cluster as its current one");
  const api = new CoreV1Api(
    createConfiguration({
      baseServer: new ServerConfiguration(server, {}),
      authMethods: { default: config },
      promiseMiddleware: [bounds],
    }),
  );
  return { api, server };
}

async function listNamespace(api: CoreV1Api, namespace: string | undefined): Promise<UsedImage[]> {
  for (let beginnings = 1; ; beginnings += 1) {
    try {
      const used: UsedImage[] = [];
      let next: string | undefined;
      do {
        const page = await listPage(api, namespace, next);
        for (const pod of page.items) used.push(...imagesOf(pod));
        next = page.metadata?._continue || undefined;
      } while (next !== undefined);
      return used;
    } catch (error) {
      if (!isExpired(error) || beginnings === mostBeginnings) throw error;
    }
  }
}

function listPage(
  api: CoreV1Api,
  namespace: string | undefined,
  next: string | undefined,
): Promise<V1PodList> {
  const asked = {
    limit: pageSize,
    fieldSelector: unfinished,
    ...(next !== undefined && { _continue: next }),
  };
  return namespace === undefined
    ? api.listPodForAllNamespaces(asked)
    : api.listNamespacedPod({ ...asked, namespace });
}

/** The client would wait for ever, and opens a pool of connections for each request that it leaves open. */
class Bounds {
  readonly #patienceMs: number;
  readonly #pools: NonNullable<ReturnType<RequestContext["getDispatcher"]>>[] = [];

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  async pre(context: RequestContext): Promise<RequestContext> {
    const pool = context.getDispatcher();
    if (pool) this.#pools.push(pool);
    context.setSignal(AbortSignal.timeout(this.#patienceMs));
    return context;
  }

  async post(context: ResponseContext): Promise<ResponseContext> {
    return context;
  }

  async close(): Promise<void> {
    await Promise.all(this.#pools.map((pool) => pool.destroy()));
  }
}

function isExpired(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && error.code === 410;
}

function imagesOf({ spec, status }: V1Pod): UsedImage[] {
  if (!spec || status?.phase === "Succeeded" || status?.phase === "Failed") return [];
  const known = new Map(
    [
      ...(status?.containerStatuses ?? []),
      ...(status?.initContainerStatuses ?? []),
      ...(status?.ephemeralContainerStatuses ?? []),
    ].map(({ name, imageID }) => [name, imageID]),
  );
  const containers = [
    ...spec.containers,
    ...(spec.initContainers ?? []),
    ...(spec.ephemeralContainers ?? []),
  ];
  return containers.flatMap(({ name, image }) =>
    image ? [{ image, imageId: known.get(name) || undefined }] : [],
  );
}
