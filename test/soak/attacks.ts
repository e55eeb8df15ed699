/** What the hostile clients do: each attack is a round of some seconds at most, and leaves nothing open. */
import { Agent } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { ask, openReply } from "../support/ask.ts";
import { digestOf } from "../support/content.ts";
import { held, large, otherHost } from "./goods.ts";
import type { Random } from "./random.ts";

/** A hostile client. */
export interface Attacker {
  readonly url: string;
  /** Its address. */
  readonly from: string;
  readonly random: Random;
  /** Digests of what is held from the beginning, and of layers that are large, by repository. */
  readonly digests: ReadonlyMap<string, string>;
  readonly layers: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
  /** Called for each request. */
  readonly sent: () => void;
}

type Attack = (attacker: Attacker) => Promise<void>;

export const attacks: Readonly<Record<string, Attack>> = {
  "manifests that are requested in one go and not read": (attacker) => {
    const repository = attacker.random.pick(held);
    return unread(attacker, `/v2/${repository}/manifests/${attacker.digests.get(repository)}`, 500);
  },
  "blobs that are requested in one go and not read": (attacker) => {
    const repository = attacker.random.pick(large);
    return unread(attacker, `/v2/${repository}/blobs/${attacker.layers.get(repository)}`, 100);
  },
  "lists that are not read": (attacker) => unread(attacker, "/v2/evil/listed/tags/list", 20),
  "made-up digests of manifests": (attacker) =>
    many(attacker, 30, () => ({ path: `/v2/${attacker.random.pick(held)}/manifests/${madeUp(attacker)}` })),
  "made-up digests of blobs, by HEAD": (attacker) =>
    many(attacker, 30, () => ({
      method: "HEAD",
      path: `/v2/${attacker.random.pick(held)}/blobs/${madeUp(attacker)}`,
    })),
  "made-up repositories under made-up names": (attacker) =>
    many(attacker, 30, () => ({
      path: `/v2/evil/none-${attacker.random.below(1e9)}/manifests/1`,
      node: `made-up-${attacker.random.below(1e9)}`,
    })),
  "made-up tags under the names of others": (attacker) =>
    many(attacker, 30, () => ({
      path: `/v2/${attacker.random.pick(held)}/manifests/none-${attacker.random.below(1e9)}`,
      node: `node-${attacker.random.below(32)}`,
    })),
  "large blobs that are abandoned": abandon,
  "idle connections": async (attacker) => {
    const sockets = Array.from({ length: 50 }, () => open(attacker));
    await pause(attacker, 3000);
    for (const socket of sockets) socket.destroy();
  },
  "repositories whose token is refused": (attacker) => several(attacker, "hidden", "docker.io"),
  "repositories that are broken": (attacker) => several(attacker, "broken", "docker.io"),
  "repositories that are limited for hours": (attacker) => several(attacker, "limited", otherHost),
  "indexes of 900 and 10,000 children": (attacker) =>
    many(attacker, 5, () => ({ path: `/v2/evil/${attacker.random.pick(["wide", "huge"])}/manifests/1` })),
};

interface Shot {
  readonly path: string;
  readonly method?: string;
  readonly node?: string;
  readonly ns?: string;
}

/** Requests one after the other on one connection. Whatever comes back is fine. */
async function many(attacker: Attacker, count: number, next: () => Shot): Promise<void> {
  const { url, from, signal, sent } = attacker;
  const agent = new Agent({ keepAlive: true, localAddress: from });
  try {
    for (let number = 0; number < count && !signal.aborted; number += 1) {
      const { path, method = "GET", node, ns = "docker.io" } = next();
      sent();
      const headers = node === undefined ? {} : { "x-hubcap-node": node };
      await ask(`${url}${path}?ns=${ns}`, { method, agent, headers, headerTimeout: 30_000, signal }).catch(
        () => {},
      );
    }
  } finally {
    agent.destroy();
  }
}

function several(attacker: Attacker, kind: string, ns: string): Promise<void> {
  return many(attacker, 5, () => ({
    path: `/v2/evil/${kind}-${attacker.random.below(1000)}/manifests/1`,
    ns,
  }));
}

/** Sends `count` requests at once, and reads nothing of the answers. */
async function unread(attacker: Attacker, path: string, count: number): Promise<void> {
  const socket = open(attacker);
  socket.pause();
  socket.write(`GET ${path}?ns=docker.io HTTP/1.1\r\nHost: mirror\r\n\r\n`.repeat(count));
  for (let number = 0; number < count; number += 1) attacker.sent();
  await pause(attacker, 2000 + attacker.random.below(3000));
  socket.destroy();
}

/** Leaves as soon as the headers are there. */
async function abandon(attacker: Attacker): Promise<void> {
  const { url, from, random, layers, signal, sent } = attacker;
  for (let number = 0; number < 3 && !signal.aborted; number += 1) {
    const repository = random.pick(large);
    const agent = new Agent({ localAddress: from });
    sent();
    const path = `/v2/${repository}/blobs/${layers.get(repository)}?ns=docker.io`;
    const reply = await openReply(`${url}${path}`, { agent, headerTimeout: 30_000, signal }).catch(
      () => undefined,
    );
    reply?.destroy();
    agent.destroy();
  }
}

function madeUp({ random }: Attacker): string {
  return digestOf(`made up ${random.next()}`);
}

function open({ url, from }: Attacker): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), localAddress: from });
  socket.on("error", () => {});
  return socket;
}

async function pause({ signal }: Attacker, ms: number): Promise<void> {
  await wait(ms, undefined, { signal }).catch(() => {});
}
