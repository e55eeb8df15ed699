/** The Hub stand-in as a child process, so that its work is not measured with ours. */
import { fileURLToPath } from "node:url";
import { ask } from "./ask.ts";
import { Child } from "./child.ts";
import type { HubAddresses } from "./hub/command.ts";
import type { CountsReport, Orders } from "./hub/control.ts";
import type { ContentDescriptor } from "./images.ts";

interface Answers {
  readonly push: ContentDescriptor;
  readonly counts: CountsReport;
  readonly consume: { readonly remaining: number };
  readonly limit: { readonly remaining: number };
}

export interface HubProcess {
  readonly addresses: HubAddresses;
  /** Gives an order of hub/control.ts. Rejects when it is refused. */
  order<Name extends keyof Orders>(
    name: Name,
    order: Orders[Name],
  ): Promise<Name extends keyof Answers ? Answers[Name] : object>;
  stop(): Promise<void>;
}

/** Starts one with the arguments of `node test/support/hub.ts`. */
export async function startHubProcess(...args: readonly string[]): Promise<HubProcess> {
  const child = new Child([fileURLToPath(new URL("hub.ts", import.meta.url)), ...args], process.env);
  const addresses = JSON.parse(await child.line((line) => line.startsWith("{"))) as HubAddresses;
  return {
    addresses,
    async order(name, order) {
      const body = JSON.stringify(order);
      const reply = await ask(`${addresses.control}/${name}`, { method: "POST", body });
      if (reply.status !== 200) {
        throw new Error(reply.body.toString());
      }
      return JSON.parse(reply.body.toString());
    },
    async stop() {
      child.kill("SIGTERM");
      await child.exit;
    },
  };
}
