/** The Range header (RFC 9110 section 14). */

/** Bytes from `start` up to, but not including, `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** What a Range header requests: all bytes (200), none that exist (416), or one span (206). */
export type RangeAsked = "whole" | "unsatisfiable" | Span;

const oneRange = /^bytes=([0-9]*)-([0-9]*)$/i;

/**
 * What `header` requests of a blob of `size` bytes. Several ranges get the whole blob, as section 14.2 allows: a 206 with
 * only the first would be taken for all of them. Malformed headers and other units are ignored, as it demands.
 */
export function parseRange(header: string | undefined, size: number): RangeAsked {
  const match = header === undefined ? null : oneRange.exec(header);
  if (match === null || size === 0) return "whole";
  const [, first = "", last = ""] = match;

  if (first === "") return last === "" ? "whole" : suffix(Number(last), size);
  const start = Number(first);
  const stop = last === "" ? Infinity : Number(last);
  if (stop < start) return "whole";
  return start < size ? { start, end: Math.min(stop + 1, size) } : "unsatisfiable";
}

/** The Content-Range header of a 206 or a 416 for a blob of `size` bytes. */
export function formatContentRange(asked: Span | "unsatisfiable", size: number): string {
  return asked === "unsatisfiable" ? `bytes */${size}` : `bytes ${asked.start}-${asked.end - 1}/${size}`;
}

function suffix(length: number, size: number): RangeAsked {
  return length === 0 ? "unsatisfiable" : { start: Math.max(0, size - length), end: size };
}
