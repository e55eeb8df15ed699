/** Redirects: where an answer may send us. Which address that resolves to is judged when it is dialled. */
import { UpstreamError } from "../error.ts";
import type { Reply } from "./wire.ts";

/** So many redirects are followed for one question. */
export const maxRedirects = 5;

const maxLength = 8192;
const statuses = new Set([301, 302, 303, 307, 308]);

/** Whether an answer to GET or HEAD asks to look elsewhere. */
export function isRedirect(status: number): boolean {
  return statuses.has(status);
}

/** The address that a redirect names. @throws UpstreamError "corrupt" when it may not be followed. */
export function nextAddress({ url, status, headers }: Reply): URL {
  const { location } = headers;
  const next = typeof location === "string" && location.length <= maxLength ? URL.parse(location, url) : null;
  const refuse = (why: string): UpstreamError =>
    new UpstreamError("corrupt", `${url.host} redirects ${why}, which is not followed`, { status });
  if (!next) throw refuse("to nowhere");
  if (next.protocol !== "https:" && next.protocol !== "http:") throw refuse(`to ${next.protocol}`);
  if (next.protocol === "http:" && url.protocol === "https:") throw refuse("from https to http");
  if (next.username !== "" || next.password !== "") throw refuse("with a password in the address");
  next.hash = "";
  return next;
}
