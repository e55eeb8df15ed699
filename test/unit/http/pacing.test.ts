/** Which connections BBR may pace. */
import { dlopen } from "node:ffi";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { descriptorOf, syscalls } from "../../../src/http/syscalls.ts";
import { listen } from "../../../src/http/listen.ts";
import { unpaceWithinHost } from "../../../src/http/pacing.ts";

/** What connections get of which nothing else is said. */
const usual = readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "latin1").trim();

/** The congestion control of a connection, as the system names it. */
function congestionControlOf(socket: Socket): string {
  const { functions } = dlopen(null, {
    getsockopt: { arguments: ["i32", "i32", "i32", "buffer", "buffer"], return: "i32" },
  });
  const name = Buffer.alloc(16);
  const length = new Uint32Array([name.length]);
  expect(functions.getsockopt(descriptorOf(socket), 6, 13, name, length)).toBe(0);
  return name.toString("latin1", 0, name.indexOf(0));
}

test.for([
  { from: "127.0.0.1", what: "one within the host is not left to it", name: "reno" },
  { from: "127.0.0.2", what: "one from elsewhere is as the system has it", name: usual },
])("$what", async ({ from, name }) => {
  const asked = Promise.withResolvers<Socket>();
  const limits = { connections: 9, perAddress: 9, stallMs: 60_000, reached: () => {} };
  const address = { host: "127.0.0.1", port: 0 };
  const listener = await listen((incoming) => asked.resolve(incoming.socket), address, limits);
  onTestFinished(() => listener.close(0));
  const client = connect({ port: listener.port, host: address.host, localAddress: from });
  onTestFinished(() => void client.destroy());
  client.on("error", () => {}).write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(congestionControlOf(await asked.promise)).toBe(name);
});

test("one that is closed, or over no network, is none of its concern", () => {
  if (!syscalls) throw new Error("this system has not the calls");
  const useReno = vi.spyOn(syscalls, "useReno");
  unpaceWithinHost(connect({ path: "/nowhere" }).destroy());
  expect(useReno).not.toHaveBeenCalled();
});
