/** A stand-in for the Kubernetes API, as far as pods are listed: pages with `continue`, a token, RBAC, and what goes wrong. */
import { writeFileSync } from "node:fs";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { createServer as createPlainServer } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { stringify } from "yaml";
import { makeAuthority } from "./certificates.ts";

/** A container of a pod, and what its node says of it. */
export interface PodContainer {
  readonly image: string;
  /** What the runtime calls it once it has been pulled. */
  readonly imageID?: string;
  /** Default `main`. */
  readonly kind?: "main" | "init" | "ephemeral";
}

export interface PodOptions {
  readonly namespace?: string;
  readonly phase?: "Pending" | "Running" | "Succeeded" | "Failed";
  readonly containers: readonly PodContainer[];
}

const token = "cluster-token-5e2a";
const path = /^\/api\/v1\/(?:namespaces\/([a-z0-9-]+)\/)?pods$/;
const fields = { main: "containers", init: "initContainers", ephemeral: "ephemeralContainers" } as const;

export class Kubernetes {
  readonly #authority = makeAuthority();
  readonly #server;
  readonly #scheme: "http" | "https";
  #pods: PodOptions[] = [];
  /** What the next requests are answered with: a status, nothing at all, or the honest answer. */
  readonly faults: (number | "hang" | "none")[] = [];
  /** The namespaces in which listing pods is forbidden; `*` for all at once. */
  readonly forbidden = new Set<string>();
  /** How many pages a continuation is good for before it has expired. */
  pagesUntilExpiry = Number.POSITIVE_INFINITY;
  /** Queries that came with the right token, oldest first. */
  readonly asked: { readonly namespace: string | undefined; readonly query: URLSearchParams }[] = [];

  constructor(scheme: "http" | "https") {
    const answer: RequestListener = (request, response) => this.#answer(request, response);
    this.#scheme = scheme;
    this.#server =
      scheme === "http"
        ? createPlainServer(answer)
        : createServer(this.#authority.issue({ names: ["127.0.0.1"] }), answer);
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Puts these in the place of all pods. */
  run(...pods: readonly PodOptions[]): void {
    this.#pods = [...pods];
  }

  /** Writes a kubeconfig to `file`, with `bearer` in place of the right token. */
  writeConfig(file: string, bearer = token): string {
    const isPlain = this.#scheme === "http";
    const cluster = {
      server: this.url,
      ...(isPlain
        ? { "insecure-skip-tls-verify": true }
        : { "certificate-authority-data": Buffer.from(this.#authority.cert).toString("base64") }),
    };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "test", cluster }],
      users: [{ name: "hubcap", user: { token: bearer } }],
      contexts: [{ name: "test", context: { cluster: "test", user: "hubcap" } }],
      "current-context": "test",
    };
    writeFileSync(file, stringify(config));
    return file;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", this.url);
    const match = path.exec(url.pathname);
    if (request.headers.authorization !== `Bearer ${token}`) return refuse(response, 401, "Unauthorized");
    if (!match || request.method !== "GET") return refuse(response, 404, "NotFound");
    const [, namespace] = match;
    const fault = this.faults.shift();
    if (fault === "hang") return;
    if (typeof fault === "number") return refuse(response, fault, "InternalError");
    if (this.forbidden.has(namespace ?? "*")) return refuse(response, 403, "Forbidden");
    this.asked.push({ namespace, query: url.searchParams });
    this.#list(url.searchParams, namespace, response);
  }

  #list(query: URLSearchParams, namespace: string | undefined, response: ServerResponse): void {
    const excluded = [...(query.get("fieldSelector") ?? "").matchAll(/status\.phase!=(\w+)/g)].map(
      ([, phase]) => phase,
    );
    const fitting = this.#pods.filter(
      ({ namespace: own = "default", phase = "Running" }) =>
        (namespace === undefined || own === namespace) && !excluded.includes(phase),
    );
    const next = query.get("continue") ?? "";
    const { start = 0, page = 0 } = next === "" ? {} : readContinue(next);
    if (page >= this.pagesUntilExpiry) {
      return refuse(response, 410, "Expired");
    }
    const limit = Number(query.get("limit") ?? fitting.length);
    const end = start + limit;
    const more = end < fitting.length ? writeContinue({ start: end, page: page + 1 }) : undefined;
    const metadata = { resourceVersion: "1", ...(more !== undefined && { continue: more }) };
    const items = fitting.slice(start, end).map((pod, index) => podOf(pod, start + index));
    send(response, 200, { kind: "PodList", apiVersion: "v1", metadata, items });
  }
}

interface Continuation {
  readonly start: number;
  readonly page: number;
}

function writeContinue(continuation: Continuation): string {
  return Buffer.from(JSON.stringify(continuation)).toString("base64url");
}

function readContinue(text: string): Continuation {
  return JSON.parse(Buffer.from(text, "base64url").toString()) as Continuation;
}

function podOf({ namespace = "default", phase = "Running", containers }: PodOptions, number: number): object {
  const of = (wanted: string) =>
    containers
      .map((container, index) => ({ kind: "main", ...container, name: `c${index}` }))
      .filter(({ kind }) => kind === wanted);
  const spec: Record<string, object> = {};
  const status: Record<string, object> = {};
  for (const [kind, field] of Object.entries(fields)) {
    const found = of(kind);
    spec[field] = found.map(({ name, image }) => ({ name, image }));
    // A container that waits for its image has a status with an empty imageID.
    status[`${field.slice(0, -1)}Statuses`] = found.map(({ name, image, imageID = "" }) => ({
      name,
      image,
      imageID,
      ready: imageID !== "",
      restartCount: 0,
    }));
  }
  return { metadata: { name: `pod-${number}`, namespace }, spec, status: { phase, ...status } };
}

function refuse(response: ServerResponse, code: number, reason: string): void {
  const status = {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: "no",
    reason,
    code,
  };
  send(response, code, status);
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** A stand-in that listens; by default over TLS, as every cluster does. Stop it when done. */
export async function startKubernetes(scheme: "http" | "https" = "https"): Promise<Kubernetes> {
  const kubernetes = new Kubernetes(scheme);
  await kubernetes.start();
  return kubernetes;
}
