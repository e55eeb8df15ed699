/** What `JSON.parse` hides: a document's keys as they are written, duplicates included. */

const quote = 0x22;
const backslash = 0x5c;

/**
 * The top-level keys of the JSON object `text`, in order, in one pass and without recursion. Other errors are left to `JSON.parse`.
 * @throws SyntaxError when the document is nested deeper than `maxDepth`, or a key is malformed.
 */
export function* topLevelKeys(text: string, maxDepth: number): Generator<string> {
  let depth = 0;
  let awaitsKey = false;
  for (let at = 0; at < text.length; at += 1) {
    switch (text[at]) {
      case '"': {
        const end = endOfString(text, at);
        if (depth === 1 && awaitsKey) yield String(JSON.parse(text.slice(at, end)));
        awaitsKey = false;
        at = end - 1;
        break;
      }
      case "{":
      case "[":
        depth += 1;
        if (depth > maxDepth) throw new SyntaxError(`nested deeper than ${maxDepth}`);
        awaitsKey = text[at] === "{";
        break;
      case "}":
      case "]":
        depth -= 1;
        break;
      case ",":
        awaitsKey = true;
        break;
      default:
    }
  }
}

/** The index after the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === backslash) at += 1;
    else if (code === quote) return at + 1;
  }
  return text.length;
}
