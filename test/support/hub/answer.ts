/** An HTTP answer as a value, so that it can be spoilt before it is sent. */
import { type Content, bytesContent } from "../content.ts";

export type AnswerHeaders = Readonly<Record<string, string | readonly string[]>>;

/** An answer; of its content, `[start, end)` is the body. Header names are in lower case. */
export interface Answer {
  readonly status: number;
  readonly headers: AnswerHeaders;
  readonly content: Content;
  readonly start: number;
  readonly end: number;
}

/** An answer whose body is `body`, with its Content-Length. */
export function answer(status: number, headers: AnswerHeaders, body: Uint8Array | string = ""): Answer {
  return contentAnswer(status, headers, bytesContent(body));
}

/** An answer whose body is `content`, or a part of it, with its Content-Length. */
export function contentAnswer(
  status: number,
  headers: AnswerHeaders,
  content: Content,
  start = 0,
  end = content.size,
): Answer {
  return { status, headers: { ...headers, "content-length": String(end - start) }, content, start, end };
}

/** An answer whose body is JSON. */
export function jsonAnswer(status: number, body: object, headers: AnswerHeaders = {}): Answer {
  return answer(status, { "content-type": "application/json", ...headers }, JSON.stringify(body));
}

/** The distribution-spec's error body. */
export function errorAnswer(
  status: number,
  code: string,
  message: string,
  headers: AnswerHeaders = {},
  detail?: unknown,
): Answer {
  return jsonAnswer(status, { errors: [{ code, message, detail }] }, headers);
}
