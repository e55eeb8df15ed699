/** The image that the Dockerfile makes: what is in it, and that it pulls, is healthy and drains with nothing it does not need. */
import { readFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { GenericContainer, Wait, type StartedTestContainer } from "testcontainers";
import { afterEach, beforeAll, expect, it, onTestFinished } from "vitest";
import { emptyFolder, pushImage, whole } from "../clients/cluster.ts";
import { Reader } from "../support/reader.ts";
import { ask } from "../support/ask.ts";
import { requireClient, withClient } from "../support/clients.ts";
import { pullWithCrane } from "../support/clients/copiers.ts";
import type { Docker } from "../support/clients/docker.ts";
import { startHub, type Hub } from "../support/hub.ts";
import { upstreamOf } from "../support/hubcap.ts";
import { buildImage } from "../support/images.ts";
import { allBytes } from "../support/content.ts";
import { image, startEngine } from "./engine.ts";

const mib = 1024 * 1024;

/** A container as restricted Pod Security has it: no capability, no way to gain any, and a root that cannot be written. */
class Hardened extends GenericContainer {
  constructor() {
    super(image);
    this.hostConfig.ReadonlyRootfs = true;
    this.withDroppedCapabilities("ALL").withSecurityOpt("no-new-privileges").withNetworkMode("host");
    this.withAutoRemove(false);
  }
}

interface Running {
  readonly container: StartedTestContainer;
  readonly url: string;
  readonly statusUrl: string;
}

withClient("dockerd", (client) => {
  let docker: Docker;
  let hub: Hub;
  let container: StartedTestContainer | undefined;

  beforeAll(async () => {
    const engine = await startEngine(client);
    docker = engine.docker;
    hub = await startHub({ limit: "unlimited" });
    return async () => {
      await hub.stop();
      await engine.stop();
    };
  }, 300_000);

  afterEach(async () => {
    await container?.stop({ timeout: 1000 });
    container = undefined;
  });

  /** Hubcap in a container that shares the host's network, so that the stand-in and the clients are near. */
  async function run(prepared: GenericContainer, until = Wait.forLogMessage("serving")): Promise<Running> {
    const [registry, status] = [await freePort(), await freePort()];
    container = await prepared
      .withEnvironment({
        HUBCAP_REGISTRY_LISTEN: `127.0.0.1:${registry}`,
        HUBCAP_STATUS_LISTEN: `127.0.0.1:${status}`,
        HUBCAP_UPSTREAMS: JSON.stringify({ "docker.io": upstreamOf(hub) }),
      })
      .withWaitStrategy(until)
      .withStartupTimeout(60_000)
      .start();
    return { container, url: `http://127.0.0.1:${registry}`, statusUrl: `http://127.0.0.1:${status}` };
  }

  /** What a script prints that runs in a container of the image. */
  async function inside(script: string): Promise<unknown> {
    return JSON.parse(await docker.run("run", "--rm", "--entrypoint=node", image, "-e", script));
  }

  it("says what it is, runs without a user of its own, and checks its own health", async () => {
    const [answer] = JSON.parse(await docker.run("image", "inspect", image)) as [
      { Size: number; Config: Record<string, unknown> & { Labels: Record<string, string> } },
    ];
    const [base] = JSON.parse(await docker.run("image", "inspect", "hubcap-base:test")) as [{ Size: number }];
    process.stdout.write(
      `the image: ${Math.round(answer.Size / 1e6)} MB, ${Math.round((answer.Size - base.Size) / 1e6)} MB of them ours\n`,
    );
    expect(answer.Size - base.Size).toBeLessThan(120e6);
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(answer.Config.Labels).toMatchObject({
      "org.opencontainers.image.title": "Hubcap",
      "org.opencontainers.image.licenses": "Apache-2.0",
      "org.opencontainers.image.version": version,
      "org.opencontainers.image.revision": "test",
    });
    expect(answer.Config["User"]).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(answer.Config["Volumes"]).toEqual({ "/var/lib/hubcap": {} });
    expect(answer.Config["ExposedPorts"]).toEqual({ "5000/tcp": {}, "5001/tcp": {} });
  });

  it("holds what runs, and nothing that builds or tests", async () => {
    const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
      packages: Record<string, { dev?: true }>;
    };
    const dev = Object.keys(packages).filter((name) => packages[name]?.dev === true);
    expect(dev).toContain("node_modules/node");
    const found = await inside(`
      const { existsSync, readdirSync, accessSync, constants } = require("node:fs");
      const can = (path) => { try { accessSync(path, constants.W_OK); return true; } catch { return false; } };
      console.log(JSON.stringify({
        dev: ${JSON.stringify(dev)}.filter((name) => existsSync("/opt/hubcap/" + name)),
        files: readdirSync("/opt/hubcap").sort(),
        writable: ["/opt/hubcap", "/opt/hubcap/.cache", "/opt/hubcap/src/main.ts", "/etc/hubcap", "/usr/local/bin", "/var/lib/hubcap"].filter(can),
        settings: ["/root/.npmrc", "/opt/hubcap/.npmrc"].filter((path) => existsSync(path)),
      }))`);
    expect(found).toEqual({
      dev: [],
      files: [".cache", "LICENSE", "config", "node_modules", "package-lock.json", "package.json", "src"],
      writable: ["/var/lib/hubcap"],
      settings: [],
    });
  });

  it("finds its compiled code where the build left it", async () => {
    const debug = "--env=NODE_DEBUG_NATIVE=COMPILE_CACHE";
    const script = ["--entrypoint=sh", image, "-c", "hubcap --version 2>&1"];
    const answer = await docker.run("run", "--rm", "--read-only", debug, ...script);
    expect(answer).toMatch(/main\.ts[^\n]*accepted/);
    expect(answer).not.toMatch(/rejected/);
  });

  it("finds what it imports later there, too", async () => {
    const { container: running, statusUrl } = await run(
      new Hardened().withEnvironment({ NODE_DEBUG_NATIVE: "COMPILE_CACHE" }),
    );
    let said = "";
    (await running.logs()).on("data", (piece: Buffer) => (said += piece.toString()));
    expect((await ask(`${statusUrl}/api/v1/quota`)).status).toBe(200);
    // What the first question needs, and the thread that writes checkpoints, which starts ten seconds later.
    for (const module of ["http/api/api", "store/sqlite/checkpointThread"]) {
      await expect.poll(() => said).toMatch(new RegExp(`${module}\\.ts[^\\n]*accepted`));
    }
    expect(said).not.toMatch(/rejected/);
  });

  it("becomes healthy, and pulls for a real client with a read-only root and no capabilities", async () => {
    const pushed = await pushImage(hub, "library/app", "oci");
    const { url, container: running } = await run(new Hardened(), Wait.forHealthCheck());
    const reference = `${new URL(url).host}/docker.io/library/app:1`;
    const pulled = await pullWithCrane(requireClient("crane"), reference, await emptyFolder());
    expect(pulled).toEqual(whole(pushed));
    const { output, exitCode } = await running.exec(["hubcap", "--version"]);
    expect([output.trim(), exitCode]).toEqual([expect.stringMatching(/^\d+\.\d+\.\d+$/), 0]);
  });

  it("pulls as any other user that may write to the volume", async () => {
    const pushed = await pushImage(hub, "library/other", "docker");
    const other = new Hardened()
      .withUser("12345:12345")
      .withTmpFs({ "/var/lib/hubcap": "rw,noexec,nosuid,size=256m,uid=12345,gid=12345,mode=0700" });
    const { url } = await run(other);
    const reference = `${new URL(url).host}/docker.io/library/other:1`;
    const pulled = await pullWithCrane(requireClient("crane"), reference, await emptyFolder());
    expect(pulled).toEqual(whole(pushed));
  });

  it("ends with 78 when its configuration is wrong", async () => {
    const mistaken = docker.run("run", "--rm", "--env=HUBCAP_STORAGE_CAPACITY=lots", image);
    await expect(mistaken).rejects.toThrow(/ended with 78[^]*storage\.capacity/);
  });

  it("writes a node's files as the chart's node agent, and takes them back when it is ended", async () => {
    const folder = await emptyFolder();
    const id = await docker.run(
      "run",
      "--detach",
      "--user=0:0",
      "--read-only",
      "--cap-drop=ALL",
      "--security-opt=no-new-privileges",
      `--volume=${folder}:/host/certs.d`,
      image,
      "client-config",
      "containerd",
      "--mirror=http://192.0.2.7:30500",
      "--node=worker-1",
      "--write=/host/certs.d",
      "--stay",
    );
    await expect.poll(() => docker.run("logs", id.trim())).toContain("staying");
    expect(await readFile(join(folder, "docker.io/hosts.toml"), "utf8")).toContain("worker-1");
    await docker.run("stop", id.trim());
    expect(await readdir(folder)).toEqual([]);
    expect((await docker.run("inspect", "--format={{.State.ExitCode}}", id.trim())).trim()).toBe("0");
  });

  it("drains on SIGTERM: a running download ends whole, and then Hubcap with 0", async () => {
    const built = await buildImage({
      seed: "drained",
      layers: 1,
      layerBytes: 4 * mib,
      platforms: ["linux/amd64"],
    });
    hub.push(built, "library/drained", "1");
    const layer = built.platforms.get("linux/amd64")?.layers[0];
    const content = built.blobs.get(layer?.digest ?? "");
    if (layer === undefined || content === undefined) throw new Error("an image without a layer");
    const { url, statusUrl, container: running } = await run(new Hardened());
    const half = hub.fault({ origin: "cdn", asks: "blob", kind: "stall", after: 2 * mib });
    onTestFinished(() => half.release());
    const bytes = await allBytes(content);
    const reader = new Reader(`${url}/v2/library/drained/blobs/${layer.digest}?ns=docker.io`, { bytes });
    await reader.reached(mib);
    const stopped = docker.run("stop", "--time=30", running.getId());
    await expect.poll(async () => (await ask(`${statusUrl}/readyz`)).status).toBe(503);
    half.release();
    expect(await reader.ended).toEqual({ status: 200, received: bytes.length, complete: true, right: true });
    await stopped;
    const ended = await docker.run(
      "inspect",
      "--format={{.State.ExitCode}} {{.State.OOMKilled}}",
      running.getId(),
    );
    expect(ended.trim()).toBe("0 false");
    await docker.run("rm", "--volumes", running.getId());
    container = undefined;
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
