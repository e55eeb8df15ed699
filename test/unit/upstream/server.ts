/** Servers for tests of upstream: real ones on this machine, that record their requests. */
import { systemClock } from "../../../src/async/clock.ts";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createNetServer, type AddressInfo, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { digestOf } from "../../../src/oci/digest.ts";
import { ociManifest } from "../../../src/oci/descriptor.ts";
import { parseRepositoryName, type Repository } from "../../../src/oci/reference.ts";
import { Registry, type RequestOptions, type RegistryOptions } from "../../../src/upstream/registry.ts";
import type { Observation } from "../../../src/upstream/gate.ts";
import { FakeBucket } from "../../support/fakeBucket.ts";
import type { KeyAndCertificate } from "../../support/certificates.ts";

export type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

export interface TestServer {
  readonly port: number;
  /** `http(s)://127.0.0.1:port` */
  readonly url: string;
  /** What was asked, in order: `GET /v2/`. */
  readonly asked: string[];
  readonly requests: IncomingMessage[];
}

/** An HTTP server for the running test. */
export async function serve(handler: Handler, certificate?: KeyAndCertificate): Promise<TestServer> {
  const asked: string[] = [];
  const requests: IncomingMessage[] = [];
  const listener: Handler = (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    requests.push(request);
    handler(request, response);
  };
  const server = certificate ? createHttpsServer({ ...certificate }, listener) : createHttpServer(listener);
  const port = await listening(server);
  onTestFinished(() => {
    server.closeAllConnections();
  });
  return { port, url: `http${certificate ? "s" : ""}://127.0.0.1:${port}`, asked, requests };
}

/** A server that sends whatever bytes it likes. */
export async function serveRaw(handler: (socket: Socket) => void): Promise<{ port: number; url: string }> {
  const sockets = new Set<Socket>();
  const server = createNetServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    handler(socket);
  });
  const port = await listening(server);
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
  });
  return { port, url: `http://127.0.0.1:${port}` };
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

export interface Upstreamed {
  readonly registry: Registry;
  readonly bucket: FakeBucket;
  readonly observed: Observation[];
}

/** A registry at `url`, for the running test. */
export function upstream(url: string, options: Partial<RegistryOptions> = {}): Upstreamed {
  const bucket = new FakeBucket();
  const observed: Observation[] = [];
  const registry = new Registry({
    name: "test.example",
    url,
    tokenRealms: [],
    credential: undefined,
    allowPrivateAddresses: true,
    bucket,
    observe: (observation) => observed.push(observation),
    clock: systemClock,
    ...options,
  });
  onTestFinished(() => registry.close());
  return { registry, bucket, observed };
}

const name = parseRepositoryName("library/nginx");
if (!name) throw new Error("not a name");
export const nginx: Repository = { upstream: "test.example", name };

export const asked: RequestOptions = {
  purpose: { reason: "pull", client: "node-1", payer: "node-1", userAgent: "containerd/2" },
};

/** A small image manifest. */
export const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: ociManifest,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(Buffer.from("{}")),
      size: 2,
    },
    layers: [],
  }),
);

/** Sends `body` with a status and headers. */
export function reply(
  response: ServerResponse,
  status: number,
  headers: Record<string, string | number | string[]> = {},
  body: string | Buffer = "",
): void {
  response.writeHead(status, { "content-length": Buffer.byteLength(body), ...headers });
  response.end(body);
}

/** Sends `manifest` as a registry does. */
export function replyManifest(response: ServerResponse, headers: Record<string, string> = {}): void {
  reply(
    response,
    200,
    { "content-type": ociManifest, "docker-content-digest": digestOf(manifest), ...headers },
    manifest,
  );
}

export async function collect(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(body));
}
