/** Reads YAML 1.2, and says where it is wrong without repeating what stands there, since that may be a secret. */
import { LineCounter, parseDocument } from "yaml";

/** A place that is not YAML. Lines and columns count from 1. */
export interface Flaw {
  readonly line: number;
  readonly column: number;
  readonly reason: string;
}

/** The value that `text` spells, or all its flaws. Unknown tags are flaws too; an empty text spells null. */
export function readYaml(text: string): { readonly value: unknown } | { readonly flaws: readonly Flaw[] } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
  const flaws = [...document.errors, ...document.warnings].map(({ message, pos }) => {
    const { line, col } = lines.linePos(pos[0]);
    return { line, column: col, reason: withoutContent(message) };
  });
  if (flaws.length > 0) return { flaws };
  try {
    return { value: document.toJS() };
  } catch (error) {
    // An alias without its anchor, or so many aliases that they could fill the memory.
    return { flaws: [{ line: 1, column: 1, reason: withoutContent(String(error)) }] };
  }
}

/** The parser's messages quote the text after a colon. */
function withoutContent(message: string): string {
  return message.replace(/^\w*Error: /, "").replace(/:.*$/s, "");
}
