/** The first steps to any server: its name, its port, its certificate. */
import { lookup } from "node:dns/promises";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ServerTime } from "./serverTime.ts";
import { Doubt, type Journal, type Way } from "./journal.ts";
import { troubleOf } from "./connectionTrouble.ts";
import { Finding } from "./verdicts.ts";

export interface ReachOptions {
  readonly journal: Journal;
  readonly clock: ServerTime;
  readonly way: Way;
  readonly url: URL;
  /** Certificates (PEM) that are trusted. */
  readonly ca: readonly string[];
  readonly timeoutMs: number;
}

const soonMs = 14 * 24 * 3600_000;

/** Resolves a server's name, connects to it and looks at its certificate, each as a step. @throws Finding */
export async function reach(options: ReachOptions): Promise<void> {
  const { journal, way, url } = options;
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  const found = (error: unknown): unknown => troubleOf(error, url.host) ?? error;
  if (isIP(hostname) === 0) {
    await journal.run(way, "dns", async () => {
      const addresses = await lookup(hostname, { all: true }).catch((error: unknown) => {
        throw troubleOf(error, hostname) ?? error;
      });
      return `${hostname} is ${addresses.map(({ address }) => address).join(", ")}`;
    });
  } else {
    journal.skip(way, "dns", `${hostname} is an address`);
  }
  await journal.run(way, "tcp", async () => {
    const socket = connectTcp({ host: hostname, port });
    try {
      await opened(socket, "connect", options.timeoutMs);
    } catch (error) {
      throw found(error);
    } finally {
      socket.destroy();
    }
    return `port ${port} takes connections`;
  });
  if (url.protocol === "https:") await journal.run(way, "tls", () => shakeHands(options, hostname, port));
}

async function shakeHands(options: ReachOptions, host: string, port: number): Promise<string | Doubt> {
  const { url, ca, clock, timeoutMs } = options;
  const servername = isIP(host) === 0 ? host : "";
  const socket = connectTls({ host, port, servername, ca: [...ca], rejectUnauthorized: true });
  try {
    await opened(socket, "secureConnect", timeoutMs);
    if (options.way === "mirror") await readAlert(socket, url.host, timeoutMs);
    const validTo = Date.parse(socket.getPeerCertificate().valid_to);
    const text = `the certificate is trusted, and valid until ${new Date(validTo).toISOString().slice(0, 10)}`;
    return validTo - Date.now() < soonMs ? new Doubt(`${text}: renew it`) : text;
  } catch (error) {
    const finding = troubleOf(error, url.host);
    if (finding?.code !== "tls-expired") throw finding ?? error;
    await clock.ask(url, timeoutMs);
    throw clock.judge(finding);
  } finally {
    socket.destroy();
  }
}

/** A server that wants a certificate of its client says so only to the first words (TLS 1.3), and undici does not pass it on. */
function readAlert(socket: Socket, host: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    // Silence is for the next steps to tell of.
    const timer = setTimeout(resolve, timeoutMs);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once("data", () => socket.destroy());
    socket.once("error", reject);
    socket.write(`HEAD /v2/ HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
  });
}

function opened(socket: Socket, event: "connect" | "secureConnect", timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = (): void => reject(Object.assign(new Error("too late"), { code: "ETIMEDOUT" }));
    const timer = setTimeout(late, timeoutMs);
    const settle = (done: () => void) => (): void => {
      clearTimeout(timer);
      done();
    };
    socket.once(event, settle(resolve));
    socket.once("error", (error) => settle(() => reject(error))());
    // A server that ends the connection in the middle of a handshake says nothing else.
    socket.once(
      "close",
      settle(() => reject(new Finding("tls-none", "the connection was closed without a word"))),
    );
  });
}
