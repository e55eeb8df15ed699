/** The stand-in as a process: reads its command line, listens, prints its addresses as one JSON line, and obeys. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import type { Hub, HubOptions } from "../hub.ts";
import type { Account } from "./accounts.ts";
import { obey } from "./control.ts";
import type { Limit } from "./limit.ts";

/** The printed line. */
export interface HubAddresses {
  readonly registry: string;
  readonly token: string;
  readonly cdn: string;
  /** Where the calls of control.ts are taken. */
  readonly control: string;
}

function readLimit(written: string | undefined): Limit | undefined {
  return written === undefined || written === "unlimited" ? written : Number(written);
}

/** `--account NAME:PASSWORD[:LIMIT]`. */
function readAccount(written: string): [string, Account] {
  const [name = "", password = "", limit] = written.split(":");
  const read = readLimit(limit);
  return [name, { password, ...(read === undefined ? {} : { limit: read }) }];
}

/** Runs until SIGTERM or SIGINT. */
export async function runHubCommand(
  args: readonly string[],
  start: (options: HubOptions) => Promise<Hub>,
): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: "string", default: "0" },
      "token-port": { type: "string", default: "0" },
      "cdn-port": { type: "string", default: "0" },
      "control-port": { type: "string", default: "0" },
      limit: { type: "string" },
      window: { type: "string" },
      "token-ttl": { type: "string" },
      account: { type: "string", multiple: true, default: [] },
    },
  });
  const limit = readLimit(values.limit);
  const hub = await start({
    ...(limit === undefined ? {} : { limit }),
    ...(values.window === undefined ? {} : { window: Number(values.window) }),
    ...(values["token-ttl"] === undefined ? {} : { tokenTtl: Number(values["token-ttl"]) }),
    accounts: Object.fromEntries(values.account.map(readAccount)),
    ports: {
      registry: Number(values.port),
      token: Number(values["token-port"]),
      cdn: Number(values["cdn-port"]),
    },
  });
  const control = createServer((request, response) => {
    void text(request)
      .then((body) => obey(hub, (request.url ?? "/").slice(1), body === "" ? {} : JSON.parse(body)))
      .then(
        (result) => response.end(JSON.stringify(result)),
        (error: unknown) => response.writeHead(400).end(String(error)),
      );
  });
  await new Promise<void>((resolve) => {
    control.listen(Number(values["control-port"]), "127.0.0.1", resolve);
  });
  const addresses: HubAddresses = {
    registry: hub.url,
    token: hub.tokenService.url,
    cdn: hub.cdn.url,
    control: `http://127.0.0.1:${(control.address() as AddressInfo).port}`,
  };
  process.stdout.write(`${JSON.stringify(addresses)}\n`);
  await new Promise<void>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  control.close();
  control.closeAllConnections();
  await hub.stop();
}
