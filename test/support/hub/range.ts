/** Content with single ranges, as the CDNs of registries serve it. */
import type { IncomingHttpHeaders } from "node:http";
import type { Content } from "../content.ts";
import { answer, contentAnswer, type Answer, type AnswerHeaders } from "./answer.ts";

/** 200, or for one range 206 or 416; several ranges are answered with 501, as ghcr's CDN does. */
export function rangeAnswer(asked: IncomingHttpHeaders, headers: AnswerHeaders, content: Content): Answer {
  const whole = contentAnswer(200, { ...headers, "accept-ranges": "bytes" }, content);
  const range = asked.range;
  const condition = asked["if-range"];
  if (range === undefined || (condition !== undefined && condition !== headers["etag"])) {
    return whole;
  }
  if (range.includes(",")) {
    return answer(501, { "content-type": "text/plain" }, "multiple ranges are not implemented\n");
  }
  const groups = /^bytes=(?<first>\d*)-(?<last>\d*)$/.exec(range)?.groups;
  const first = groups?.["first"] ?? "";
  const last = groups?.["last"] ?? "";
  if (first === "" && last === "") {
    return whole;
  }
  const start = first === "" ? Math.max(0, content.size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? content.size : Math.min(content.size, Number(last) + 1);
  if (start >= content.size || end <= start) {
    return answer(416, { "content-range": `bytes */${content.size}` });
  }
  const contentRange = `bytes ${start}-${end - 1}/${content.size}`;
  return contentAnswer(
    206,
    { ...headers, "accept-ranges": "bytes", "content-range": contentRange },
    content,
    start,
    end,
  );
}
