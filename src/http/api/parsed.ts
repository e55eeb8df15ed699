/** Text of a request that a parser of ours reads. */
import { z } from "@hono/zod-openapi";

/**
 * What `parse` makes of a text. What is wrong follows the parameter's name: `expected` where it makes nothing of it,
 * `single` where there is no text or more than one.
 */
export function parsed<T extends object>(
  parse: (text: string) => T | undefined,
  expected: string,
  single = expected,
) {
  return z.string({ error: single }).transform((text, context): T => {
    const value = parse(text);
    if (value) return value;
    context.addIssue({ code: "custom", message: expected });
    return z.NEVER;
  });
}
