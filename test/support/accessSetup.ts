/** A Hubcap that asks who pulls, before a stand-in with public and private repositories. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hash } from "bcrypt";
import { canaryOf } from "./canary.ts";
import type { AskOptions } from "./ask.ts";
import { startHub, type Hub, type HubOptions } from "./hub.ts";
import { startHubcap, upstreamOf, type Hubcap, type WrittenConfig } from "./hubcap.ts";
import { buildImage, type Image } from "./images.ts";

/** What clients send, and what may show nowhere. */
export const secrets = {
  ci: canaryOf("ci"),
  other: canaryOf("other"),
  admin: canaryOf("admin"),
  wrong: canaryOf("nobody"),
  alice: canaryOf("alice"),
  cluster: canaryOf("cluster"),
  dev: canaryOf("dev"),
} as const;

export function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

export function basic(user: string, password: string): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` };
}

export interface AccessSetup {
  readonly hub: Hub;
  readonly hubcap: Hubcap;
  readonly image: Image;
  /** A folder of the setup's own. */
  readonly folder: string;
  /** Starts Hubcap again with other rules. */
  readonly restart: (changes: WrittenConfig) => Promise<void>;
  readonly close: () => Promise<void>;
}

/**
 * Opens it. `cluster` is the shared account, `dev` one of a client. Everybody sees public/*, the two accounts private/app, and
 * cluster alone private/own. Rules, unless `changes` has others, let the token `ci` have private/*; so may alice.
 */
export async function openAccessSetup(
  changes: WrittenConfig = {},
  hubOptions: HubOptions = {},
): Promise<AccessSetup> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-test-access-"));
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const hub = await startHub({
    accounts: { cluster: { password: secrets.cluster }, dev: { password: secrets.dev } },
    ...hubOptions,
  });
  const image = await buildImage({ seed: "access", layers: 1, layerBytes: 100_000 });
  for (const name of ["public/app", "private/app", "private/own"]) hub.push(image, name, "1");
  hub.shelf.restrict("private/app", ["cluster", "dev"]);
  hub.shelf.restrict("private/own", ["cluster"]);
  const credential = { username: "cluster", password: secrets.cluster };
  const config: WrittenConfig = {
    upstreams: { "docker.io": upstreamOf(hub, { credential }) },
    admin: { tokenFile: await file("admin", secrets.admin) },
    identities: {
      tokens: [
        { name: "ci", file: await file("ci", `${secrets.ci}\n`) },
        { name: "other", file: await file("other", secrets.other) },
      ],
      htpasswdFile: await file("htpasswd", `# users\nalice:${await hash(secrets.alice, 4)}\n`),
    },
    access: [{ who: ["token:ci", "user:alice"], repositories: ["private/*"], allow: "pull" }],
    ...changes,
  };
  const hubcap = await startHubcap({ config, inProcess: true });
  return {
    hub,
    hubcap,
    image,
    folder,
    restart: (other) => hubcap.restart({ ...config, ...other }),
    async close() {
      await hubcap.dispose();
      await hub.stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** An answer without what differs from one to the next; names are all of one length. */
export function comparable(reply: { status: number; headers: object; body: Buffer }, name: string): object {
  const { date: _date, ...headers } = reply.headers as Record<string, unknown>;
  return {
    status: reply.status,
    headers,
    body: reply.body.toString().replaceAll(name, "NAME"),
  };
}

export type Headers = NonNullable<AskOptions["headers"]>;
