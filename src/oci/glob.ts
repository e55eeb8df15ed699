/** Globs: `*` stands for anything but a slash, `**` for anything. Globs and the texts that they are matched against may be hostile. */

/** Matches whole texts. */
export interface Glob {
  test(text: string): boolean;
}

/** Above this, a regular expression could take exponential time, so {@link Steps} is used. */
const fewStars = 2;

/** `text` as a glob; every text is one. */
export function parseGlob(text: string): Glob {
  const parts = text.split(/(\*+)/).filter((part) => part !== "");
  const stars = parts.filter((part) => part.startsWith("*")).length;
  return stars > fewStars ? new Steps(parts) : expressionOf(parts);
}

function expressionOf(parts: readonly string[]): RegExp {
  const sources = parts.map((part) => {
    if (!part.startsWith("*")) return RegExp.escape(part);
    return part.length > 1 ? ".*" : "[^/]*";
  });
  return new RegExp(`^${sources.join("")}$`, "s");
}

/** Follows all ways through the glob at once, letter by letter: time is the glob's length times the text's. */
class Steps implements Glob {
  /** Letters, `*` and `**`. */
  readonly #steps: readonly string[];

  constructor(parts: readonly string[]) {
    this.#steps = parts.flatMap((part) => (part.startsWith("*") ? [part.slice(0, 2)] : part.split("")));
  }

  test(text: string): boolean {
    const steps = this.#steps;
    let here = new Uint8Array(steps.length + 1);
    let next = new Uint8Array(steps.length + 1);
    here[0] = 1;
    for (let at = 0; at <= text.length; at += 1) {
      const letter = text[at];
      next.fill(0);
      for (const [step, wanted] of steps.entries()) {
        if (here[step] !== 1) continue;
        const isStar = wanted.startsWith("*");
        // A star may match nothing.
        if (isStar) here[step + 1] = 1;
        if (letter === undefined) continue;
        if (!isStar && wanted === letter) next[step + 1] = 1;
        if (isStar && (wanted === "**" || letter !== "/")) next[step] = 1;
      }
      if (letter === undefined) break;
      [here, next] = [next, here];
    }
    return here[steps.length] === 1;
  }
}
