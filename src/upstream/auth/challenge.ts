/** Challenges: what a registry wants to be shown, read from `WWW-Authenticate` (RFC 9110 11.6.1). */

/** One challenge. The scheme and the names of parameters are in lower case; of a repeated parameter the first counts. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const maxLength = 8192;
const maxChallenges = 16;

const tokenAt = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const spaceAt = /[ \t]*/y;
const bareValueAt = /[^\s,]*/y;
const quotedAt = /"((?:[^"\\]|\\.)*)"?/sy;

/** All challenges of one answer, in order. Reads what registries really send, skips what nobody could read, never throws. */
export function parseChallenges(header: string | readonly string[] | undefined): Challenge[] {
  const values = header === undefined ? [] : typeof header === "string" ? [header] : header;
  return values.flatMap((value) => [...challengesIn(value.slice(0, maxLength))]).slice(0, maxChallenges);
}

/** One pass from left to right: a word followed by `=` is a parameter of the challenge before it, any other word begins one. */
function* challengesIn(text: string): Generator<Challenge> {
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text) ?? undefined;
    if (found) at = pattern.lastIndex;
    return found;
  };
  let open: { scheme: string; parameters: Map<string, string> } | undefined;
  while (at < text.length) {
    const word = take(tokenAt)?.[0].toLowerCase();
    if (word === undefined) {
      at += 1;
      continue;
    }
    take(spaceAt);
    if (text[at] !== "=") {
      if (open) yield open;
      open = { scheme: word, parameters: new Map() };
      continue;
    }
    at += 1;
    take(spaceAt);
    const quoted = take(quotedAt);
    const value = quoted ? (quoted[1] ?? "").replaceAll(/\\(.)/gs, "$1") : (take(bareValueAt)?.[0] ?? "");
    if (open && !open.parameters.has(word)) open.parameters.set(word, value);
  }
  if (open) yield open;
}
