/** What `JSON.parse` hides: a document's keys as they are written, duplicates included. */

const backslash = 0x5c;

/**
 * The top-level keys of the JSON object `text`, in order, in one pass and without recursion. Other errors are left to `JSON.parse`.
 * @throws SyntaxError when the document is nested deeper than `maxDepth`, has more than `maxValues` values, or a key is malformed.
 */
export function* topLevelKeys(text: string, maxDepth: number, maxValues: number): Generator<string> {
  let depth = 0;
  let values = 0;
  let awaitsKey = false;
  const addValue = (): void => {
    values += 1;
    if (values > maxValues) throw new SyntaxError(`more than ${maxValues} values`);
  };
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
        addValue();
        if (depth > maxDepth) throw new SyntaxError(`nested deeper than ${maxDepth}`);
        awaitsKey = text[at] === "{";
        break;
      case "}":
      case "]":
        depth -= 1;
        break;
      case ",":
        addValue();
        awaitsKey = true;
        break;
      default:
    }
  }
}

/** The index after the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === backslash) escapes += 1;
    if (escapes % 2 === 0) return end + 1;
  }
  return text.length;
}
