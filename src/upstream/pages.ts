/** Lists in pages: followed only within the registry's own list, and up to a limit. */
import { UpstreamError } from "./error.ts";
import type { Reply } from "./net/httpClient.ts";

const maxPages = 200;

/** All pages together. */
const maxBytes = 64 * 1024 * 1024;
const withinMs = 30_000;

/** One page. */
export interface Page {
  readonly reply: Reply;
  readonly bytes: Buffer;
}

/**
 * The pages of the list at `first`. Of a link to the next page only the query is used, at our own address, and only when the
 * link stays with the list that was answered: an upstream must not choose where we send requests.
 * @throws UpstreamError
 */
export async function* pages(
  first: URL,
  maxPageBytes: number,
  fetch: (url: URL) => Promise<Reply>,
): AsyncGenerator<Page> {
  let url = first;
  let left = maxBytes;
  const seen = new Set<string>();
  for (let count = 0; count < maxPages; count += 1) {
    seen.add(url.search);
    const reply = await fetch(url);
    const bytes = await reply.read(Math.min(left, maxPageBytes), withinMs);
    left -= bytes.length;
    yield { reply, bytes };
    const next = nextLink(reply.headers["link"], reply.url);
    const isSameList = next?.origin === reply.url.origin && next.pathname === reply.url.pathname;
    if (!next || !isSameList || seen.has(next.search)) return;
    url = new URL(first);
    url.search = next.search;
  }
}

/** The tags of one page. Names that are no tags are left out. @throws UpstreamError "corrupt" */
export function tagsIn({ reply, bytes }: Page): string[] {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString());
  } catch (error) {
    throw new UpstreamError("corrupt", `${reply.url.host} sent a tag list that is not JSON`, {
      cause: error,
    });
  }
  const tags =
    typeof document === "object" && document !== null && "tags" in document ? document.tags : undefined;
  // Go's encoding of an empty list.
  if (tags === null) return [];
  if (!Array.isArray(tags))
    throw new UpstreamError("corrupt", `${reply.url.host} sent a tag list without tags`);
  return tags.filter((tag) => typeof tag === "string");
}

const maxLength = 8192;

const targetAt = /<([^<>]*)>/y;
const parameterAt = /[ \t]*;[ \t]*([^=;,\s"<>]+)(?:=(?:"([^"]*)"|([^;,\s"]*)))?/y;

/** The address of `rel="next"`, resolved against `base`, or undefined when there is none. Never throws. */
export function nextLink(header: string | readonly string[] | undefined, base: URL): URL | undefined {
  const text = (typeof header === "string" ? header : (header ?? []).join(", ")).slice(0, maxLength);
  let at = text.indexOf("<");
  while (at !== -1) {
    targetAt.lastIndex = at;
    const target = targetAt.exec(text)?.[1];
    if (target === undefined) {
      at = text.indexOf("<", at + 1);
      continue;
    }
    at = targetAt.lastIndex;
    let isNext = false;
    for (;;) {
      parameterAt.lastIndex = at;
      const found = parameterAt.exec(text);
      if (!found) break;
      at = parameterAt.lastIndex;
      const relations = (found[2] ?? found[3] ?? "").toLowerCase().split(/[ \t]+/);
      if (found[1]?.toLowerCase() === "rel" && relations.includes("next")) isNext = true;
    }
    if (isNext) return URL.parse(target, base) ?? undefined;
    at = text.indexOf("<", at);
  }
  return undefined;
}
