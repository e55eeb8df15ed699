/** Paging: the `Link` header of lists (RFC 8288), of which only "next" matters. */

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
