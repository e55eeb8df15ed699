/** nginx with sendfile and one worker: what serving a file costs at least. */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requireClient } from "../../support/clients.ts";
import { Daemon, sealed } from "../../support/clients/process.ts";
import type { Server } from "./server.ts";

/** Starts one that serves `file` at `path` (a query after it is of no interest to it). */
export async function startNginx(file: string, path: string): Promise<Server> {
  const program = requireClient("nginx");
  const folder = await mkdtemp(join(tmpdir(), "hubcap-bench-"));
  const port = await freePort();
  await writeFile(join(folder, "nginx.conf"), configuration({ folder, port, file, path }));
  const log = join(folder, "nginx.log");
  const daemon = await Daemon.start(
    program.path,
    ["-p", folder, "-e", log, "-c", join(folder, "nginx.conf")],
    {
      env: sealed(folder),
      log,
      ready: () => answers(port),
    },
  );
  return {
    name: "nginx",
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await daemon.stop();
      await rm(folder, { recursive: true });
    },
  };
}

interface Served {
  readonly folder: string;
  readonly port: number;
  readonly file: string;
  readonly path: string;
}

function configuration({ folder, port, file, path }: Served): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  // Hubcap's storage is its user's alone, which for root means that nginx's workers must stay root to read it.
  return `
    ${process.getuid?.() === 0 ? "user root;" : ""}
    daemon off;
    worker_processes 1;
    pid ${folder}/nginx.pid;
    events { worker_connections 1024; }
    http {
      ${temporary.join("\n      ")}
      access_log off;
      sendfile on;
      tcp_nopush on;
      keepalive_requests 1000000;
      default_type application/octet-stream;
      server {
        listen 127.0.0.1:${port};
        location = "${path.split("?")[0]}" { alias "${file}"; }
      }
    }
  `;
}

/** nginx cannot choose a port itself. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
