/** Node's own HTTP server, which answers every request with the same bytes: what Hubcap could reach at most. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { Child } from "../../support/child.ts";
import type { Server } from "./server.ts";

/** Starts one that answers with `bytes` bytes. */
export async function startBareNode(bytes: number): Promise<Server> {
  const child = new Child([fileURLToPath(import.meta.url), String(bytes)], process.env);
  const url = await child.line((line) => line.startsWith("http:"));
  return {
    name: "bare Node",
    url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.exit;
    },
  };
}

function serve(bytes: number): void {
  const body = Buffer.alloc(bytes, "x");
  // Long enough that no connection of the load is closed while others are used.
  const server = createServer({ keepAliveTimeout: 95_000 }, (_, response) => {
    response
      .writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": bytes })
      .end(body);
  });
  server.listen(0, "127.0.0.1", () => {
    console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });
}

if (import.meta.main) serve(Number(process.argv[2]));
