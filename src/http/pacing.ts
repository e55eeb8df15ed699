/** Connections within the host, which nothing should slow down. */
import type { Socket } from "node:net";
import { descriptorOf, syscalls } from "./syscalls.ts";

/**
 * Has a connection whose two ends have one address not paced by BBR: it never leaves the host, so that there is no network to
 * spare, and BBR's timers cost it more than its bytes. To be called before anything is sent.
 */
export function unpaceWithinHost(socket: Socket): void {
  const { remoteAddress, localAddress } = socket;
  if (remoteAddress === undefined || remoteAddress !== localAddress) return;
  syscalls?.useReno(descriptorOf(socket));
}
