/** `npm start`: a signal to npm stops Hubcap as one to Hubcap itself does. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { patience } from "../support/patience.ts";

interface Line {
  readonly msg: string;
  readonly registry?: string;
}

let folder: string;
let npm: ChildProcess;
let client: Socket;
const lines: Line[] = [];

const messages = (): string[] => lines.map(({ msg }) => msg);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hubcap-npm-"));
  const config = join(folder, "hubcap.yaml");
  const listen = "{ listen: '127.0.0.1:0' }";
  const storage = `{ root: ${join(folder, "storage")} }`;
  await writeFile(config, `registry: ${listen}\nstatus: ${listen}\nstorage: ${storage}\n`);
  const machine = Object.entries(process.env).filter(([name]) => !name.startsWith("HUBCAP_"));
  // A terminal has all of its processes in one group.
  npm = spawn("npm", ["start", "--silent", "--", "--config", config], {
    cwd: join(import.meta.dirname, "../.."),
    env: Object.fromEntries(machine),
    stdio: ["ignore", "pipe", "ignore"],
    detached: true,
  });
  lines.length = 0;
  if (npm.stdout) createInterface(npm.stdout).on("line", (line) => lines.push(JSON.parse(line) as Line));
  await vi.waitUntil(() => messages().includes("serving"), patience);
  const { hostname, port } = new URL(lines[0]?.registry ?? "");
  // While there is a client that is being served, Hubcap has something to wait for.
  client = connect(Number(port), hostname);
  client.on("error", () => {}).write("GET /v2/ HTTP/1.1\r\n");
  await new Promise((resolve) => client.once("ready", resolve));
});

afterEach(async () => {
  client.destroy();
  try {
    // What npm has left behind, too.
    if (npm.pid !== undefined) process.kill(-npm.pid, "SIGKILL");
  } catch {
    // Nothing, as it should be.
  }
  await rm(folder, { recursive: true });
});

it.each([
  ["SIGTERM to npm alone, as a supervisor sends it", (pid: number) => process.kill(pid, "SIGTERM")],
  [
    "Ctrl-C, which comes to Hubcap and to npm, who passes it on",
    (pid: number) => process.kill(-pid, "SIGINT"),
  ],
])("drains for %s", async (_, end) => {
  const ended = new Promise((resolve) => npm.once("close", resolve));
  end(npm.pid ?? 0);
  await expect.poll(messages, patience).toContain("draining");
  client.destroy();
  await ended;
  expect(messages()).toEqual(["serving", "draining", "stopped"]);
});
