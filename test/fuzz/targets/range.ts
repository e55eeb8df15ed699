/** `Range`, as clients send it. */
import { formatContentRange, parseRange } from "../../../src/oci/range.ts";
import { must, parts, type FuzzTarget } from "../fuzzTarget.ts";

export const range: FuzzTarget = {
  seeds: [
    "1000\nbytes=0-499",
    "1000\nbytes=500-",
    "1000\nbytes=-500",
    "0\nbytes=0-",
    "1000\nbytes=0-0,-1",
    "9\nBytes = 1 - 2",
  ],
  run(data) {
    const [length = "", header = ""] = parts(data, 2);
    const size = /^\d{1,15}$/.test(length) ? Number(length) : 0;
    const asked = parseRange(header, size);
    if (asked === "whole") return;
    must(
      /^bytes (?:\*|\d+-\d+)\/\d+$/.test(formatContentRange(asked, size)),
      "an answer to it can be written",
    );
    if (asked === "unsatisfiable") return;
    must(asked.start >= 0 && asked.start < asked.end && asked.end <= size, "it lies within the blob");
  },
};
