/** Puts an answer on the wire, whole or in one of the ways in which sending fails. */
import { readFile } from "node:fs/promises";
import { STATUS_CODES, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import type { Writable } from "node:stream";
import type { ActiveFault, FaultAction } from "../faults.ts";
import type { Answer } from "./answer.ts";
import type { HubRequest } from "./requests.ts";
import { offsetIn, unsized } from "./spoil.ts";

/** The other side has gone: nothing more to send. */
export class GoneError extends Error {
  override readonly name = "GoneError";
}

interface Sending {
  readonly response: ServerResponse;
  readonly request: HubRequest;
  readonly answer: Answer;
}

/** Sends the answer. Rejects with a GoneError when the client leaves before its end. */
export async function send(
  response: ServerResponse,
  request: HubRequest,
  answer: Answer,
  struck: ActiveFault | undefined,
): Promise<void> {
  request.status = answer.status;
  const sending = { response, request, answer };
  const fault = struck?.fault;
  if (request.method === "HEAD" || fault === undefined) {
    await sendWhole(sending);
  } else if (fault.kind === "truncate") {
    await sendTruncated(sending, fault);
  } else if (fault.kind === "drip") {
    await sendDripping(sending, fault.bytesPerSecond);
  } else if (fault.kind === "stall" && struck !== undefined) {
    const middle = answer.start + offsetIn(answer.end - answer.start, fault.after);
    writeHead(sending);
    await pour(sending, response, answer.start, middle);
    await heldOrGone(struck.hold(), response);
    await pour(sending, response, middle, answer.end);
    await finish(sending);
  } else if (fault.kind === "reset" && fault.after !== undefined) {
    writeHead(sending);
    await pour(
      sending,
      response,
      answer.start,
      answer.start + offsetIn(answer.end - answer.start, fault.after),
    );
    await taken(response);
    resetConnection(response);
  } else {
    await sendWhole(sending);
  }
}

/** Resolves with `held`, or rejects with a GoneError if the client leaves first. */
export async function heldOrGone(held: Promise<void>, response: ServerResponse): Promise<void> {
  const gone = Promise.withResolvers<void>();
  const leave = (): void => gone.reject(new GoneError());
  response.once("close", leave);
  try {
    await Promise.race([held, gone.promise]);
  } finally {
    response.off("close", leave);
  }
}

function portInTable(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

/** Resolves when the client's system has all that was sent: a reset throws away what is still on its way. */
async function taken(response: ServerResponse): Promise<void> {
  const { localPort = 0, remotePort = 0 } = socketOf(response);
  const queue = new RegExp(
    `:${portInTable(localPort)} [0-9A-F]+:${portInTable(remotePort)} [0-9A-F]{2} (?<unsent>[0-9A-F]{8}):`,
  );
  const unsent = async (): Promise<boolean> => {
    // Linux alone tells this; elsewhere the last bytes before a reset may be lost.
    const table = await readFile("/proc/net/tcp", "latin1").catch(() => "");
    return Number.parseInt(queue.exec(table)?.groups?.["unsent"] ?? "0", 16) > 0;
  };
  while (!response.destroyed && (await unsent())) {
    await wait(1);
  }
}

/** Ends the connection with a TCP reset. */
export function resetConnection(response: ServerResponse): void {
  const socket = socketOf(response);
  // Only a plain TCP socket can be reset; under TLS the abrupt end has to do.
  if ("encrypted" in socket) {
    socket.destroy();
  } else {
    socket.resetAndDestroy();
  }
}

/** Writes bytes as they are and ends the connection. */
export async function sendRaw(response: ServerResponse, bytes: Uint8Array | string): Promise<void> {
  const socket = socketOf(response);
  await new Promise<void>((resolve) => {
    socket.end(bytes, resolve);
  });
}

function socketOf(response: ServerResponse): Socket {
  if (response.socket === null) {
    throw new GoneError();
  }
  return response.socket;
}

function writeHead({ response, answer }: Sending): void {
  const headers = Object.entries(answer.headers).map(([name, value]): [string, string | string[]] => [
    name,
    typeof value === "string" ? value : [...value],
  ]);
  response.writeHead(answer.status, Object.fromEntries(headers));
  response.flushHeaders();
}

async function sendWhole(sending: Sending): Promise<void> {
  writeHead(sending);
  if (sending.request.method !== "HEAD") {
    await pour(sending, sending.response, sending.answer.start, sending.answer.end);
  }
  await finish(sending);
}

async function finish({ response, request }: Sending): Promise<void> {
  await new Promise<void>((resolve) => {
    response.once("close", resolve);
    response.end(resolve);
  });
  request.complete = response.writableFinished;
}

async function sendTruncated(
  sending: Sending,
  fault: Extract<FaultAction, { kind: "truncate" }>,
): Promise<void> {
  const { response, answer } = sending;
  const socket = socketOf(response);
  const end = answer.start + offsetIn(answer.end - answer.start, fault.after);
  if (fault.framing === "close") {
    const lines = Object.entries(unsized(answer).headers).flatMap(([name, value]) =>
      [value].flat().map((one) => `${name}: ${one}\r\n`),
    );
    const reason = STATUS_CODES[answer.status] ?? "";
    socket.write(`HTTP/1.1 ${answer.status} ${reason}\r\n${lines.join("")}connection: close\r\n\r\n`);
    await pour(sending, socket, answer.start, end);
  } else {
    writeHead(fault.framing === "chunked" ? { ...sending, answer: unsized(answer) } : sending);
    await pour(sending, response, answer.start, end);
  }
  await new Promise<void>((resolve) => {
    socket.end(resolve);
  });
}

async function sendDripping(sending: Sending, bytesPerSecond: number): Promise<void> {
  const { response, answer } = sending;
  const step = Math.max(1, Math.floor(bytesPerSecond / 10));
  writeHead(sending);
  for (let at = answer.start; at < answer.end; at += step) {
    await pour(sending, response, at, Math.min(answer.end, at + step));
    await heldOrGone(wait(100), response);
  }
  await finish(sending);
}

/** Writes `[start, end)` of the content and resolves when the system has taken all of it. */
async function pour({ request, answer }: Sending, to: Writable, start: number, end: number): Promise<void> {
  for await (const piece of answer.content.read(start, end) as AsyncIterable<Buffer>) {
    request.bytes += piece.length;
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => reject(new GoneError());
      to.once("close", leave);
      to.write(piece, (error) => {
        to.off("close", leave);
        if (error === undefined || error === null) {
          resolve();
        } else {
          reject(new GoneError());
        }
      });
    });
  }
}
