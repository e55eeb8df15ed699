/** Answers that take the place of an honest one, and honest answers made wrong. */
import { gzipSync } from "node:zlib";
import { allBytes, flippedContent, floodContent } from "../content.ts";
import type { FaultAction } from "../faults.ts";
import { answer, contentAnswer, type Answer, type AnswerHeaders } from "./answer.ts";

function without(headers: AnswerHeaders, names: readonly string[]): AnswerHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.includes(name)));
}

function textOf(headers: AnswerHeaders, name: string): string {
  const value = headers[name];
  return typeof value === "string" ? value : "";
}

/** The offset that `at` means in `size` bytes: from the end when negative. */
export function offsetIn(size: number, at: number): number {
  return Math.max(0, Math.min(size, at < 0 ? size + at : at));
}

/** The answer of a fault that stands in front of the origin, or undefined if it only spoils. */
export function insteadOf(action: FaultAction): Answer | undefined {
  switch (action.kind) {
    case "status":
      return answer(action.status, action.headers ?? {}, action.body);
    case "flood": {
      const headers = action.headers ?? { "content-type": "application/json" };
      const flood = contentAnswer(200, headers, floodContent(action.bytes, action.prefix));
      return action.framing === "length" ? flood : unsized(flood);
    }
    default:
      return undefined;
  }
}

/** The answer without its Content-Length: it will be sent in chunks. */
export function unsized(honest: Answer): Answer {
  return { ...honest, headers: without(honest.headers, ["content-length"]) };
}

/** The honest answer with the fault in it, as far as the fault is in what is said and not in how it is sent. */
export async function spoilt(honest: Answer, action: FaultAction): Promise<Answer> {
  const { status, headers, content, start, end } = honest;
  switch (action.kind) {
    case "chunked":
      return unsized(honest);
    case "flip":
      return { ...honest, content: flippedContent(content, offsetIn(content.size, action.at)) };
    case "empty":
      return { ...honest, headers: { ...headers, "content-length": "0" }, end: start };
    case "whole":
      return status === 206 ? contentAnswer(200, without(headers, ["content-range"]), content) : honest;
    case "contentRange": {
      const { start: first = 0, total = 0 } = action;
      const range = `bytes ${start + first}-${end - 1 + first}/${content.size + total}`;
      return { ...honest, headers: { ...headers, "content-range": range } };
    }
    case "headers":
      return { ...honest, headers: { ...without(headers, action.remove ?? []), ...action.set } };
    case "gzip":
      return answer(
        status,
        { ...headers, "content-encoding": "gzip" },
        gzipSync((await allBytes(content)).subarray(start, end)),
      );
    case "body":
      return answer(status, headers, action.body);
    case "hops":
    case "loop": {
      const location = textOf(headers, "location");
      const path =
        action.kind === "loop" ? "/loop" : `/hops/${action.count - 2}?to=${encodeURIComponent(location)}`;
      return location === ""
        ? honest
        : { ...honest, headers: { ...headers, location: new URL(path, location).href } };
    }
    default:
      return honest;
  }
}
