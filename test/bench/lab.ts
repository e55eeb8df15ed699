/** What every measurement works with: the stand-in with its goods, servers on their core, and how much is to be done. */
import { startHubProcess, type HubProcess } from "../support/hubProcess.ts";
import { settleDisk } from "./disk.ts";
import { stock, wholeOf, type Goods, type Shop } from "./goods.ts";
import { Connection } from "./load/connection.ts";
import type { Machine } from "./machine.ts";
import type { Row } from "./report.ts";
import { startBareNode } from "./servers/bareNode.ts";
import { startHubcapServer, type HubcapServer } from "./servers/hubcap.ts";
import { startNginx } from "./servers/nginx.ts";
import { startFilledRegistry, startProxyRegistry } from "./servers/registry.ts";
import type { Server } from "./servers/server.ts";

/** One group of figures. */
export interface Case {
  readonly name: string;
  readonly run: (lab: Lab) => Promise<Row[]>;
}

export interface LabOptions {
  readonly machine: Machine;
  /** Fewer rounds and smaller sizes, to see whether everything works. */
  readonly quick: boolean;
  /** Arguments of Node for Hubcap alone, such as `--cpu-prof`. */
  readonly nodeArgs: readonly string[];
}

/** What pulls through. */
export const caches = ["Hubcap", "docker-registry"] as const;
export type CacheName = (typeof caches)[number];

const mebibyte = 1024 * 1024;

export class Lab implements AsyncDisposable {
  readonly shop: Shop;
  readonly hub: HubProcess;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly #nodeArgs: readonly string[];

  private constructor(options: LabOptions, hub: HubProcess, shop: Shop) {
    this.hub = hub;
    this.shop = shop;
    this.quick = options.quick;
    this.machine = options.machine;
    this.#nodeArgs = options.nodeArgs;
  }

  static async open(options: LabOptions): Promise<Lab> {
    const hub = await startHubProcess("--limit", "unlimited");
    try {
      return new Lab(options, hub, await stock(hub, (options.quick ? 64 : 256) * mebibyte));
    } catch (error) {
      await hub.stop();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.stop();
  }

  /** The blob's size for a heading. */
  get blobSize(): string {
    return `${Math.floor(this.shop.blob.bytes.length / mebibyte)} MiB`;
  }

  /** A Hubcap with empty storage. */
  startHubcap(): Promise<HubcapServer> {
    return this.machine.onServerCore(() => startHubcapServer(this.hub, this.#nodeArgs));
  }

  /** A Hubcap that holds all that is measured; two processes have a core of the load's as well. */
  async startFullHubcap(workers = 1): Promise<HubcapServer> {
    const hubcap = await (workers === 1
      ? this.startHubcap()
      : this.machine.onTwoCores(() => startHubcapServer(this.hub, this.#nodeArgs, workers)));
    const { blob, blobImage, image } = this.shop;
    await pull(hubcap, [...wholeOf(blobImage), ...wholeOf(image)]);
    await hubcap.holds(blob.path);
    return hubcap;
  }

  /** Starts a Hubcap anew, with the storage it has; how many milliseconds passed until it was ready. */
  restart(hubcap: HubcapServer): Promise<number> {
    return this.machine.onServerCore(() => hubcap.restart());
  }

  /** docker-registry as a plain registry that holds all that is measured. */
  startFilledRegistry(): Promise<Server> {
    return startFilledRegistry(this.hub, (start) => this.machine.onServerCore(start));
  }

  /**
   * A pull-through cache that begins with empty storage, and was asked for `before`, and for the index and the manifest that
   * name the blob, as every client does first, so that it also has a token for the stand-in.
   */
  async startCache(name: CacheName, before: readonly Goods[] = []): Promise<Server> {
    const server = await (name === "Hubcap"
      ? this.startHubcap()
      : this.machine.onServerCore(() => startProxyRegistry(this.hub)));
    const { tag, manifest } = this.shop.blobImage;
    await pull(server, [...before, tag, manifest]);
    await settleDisk();
    return server;
  }

  /** nginx that serves `file` as the blob. */
  startNginx(file: string): Promise<Server> {
    return this.machine.onServerCore(() => startNginx(file, this.shop.blob.path));
  }

  /** Node's own server, which answers everything with the bytes of a manifest. */
  startBareNode(): Promise<Server> {
    return this.machine.onServerCore(() => startBareNode(this.shop.image.manifest.bytes.length));
  }
}

/** Asks for `goods`, one after the other. Rejects unless all of them come, and nothing else. */
async function pull(server: Server, goods: readonly Goods[]): Promise<void> {
  for (const { path, bytes } of goods) {
    await using connection = await Connection.open(server.url);
    const pieces: Buffer[] = [];
    await connection.ask("GET", path, (piece) => pieces.push(Buffer.from(piece)));
    if (!Buffer.concat(pieces).equals(bytes)) throw new Error(`${server.name} serves other bytes at ${path}`);
  }
}
