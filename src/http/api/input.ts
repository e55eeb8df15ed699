/** What requests bring: parameters that a parser of ours reads, and JSON bodies. Described and refused alike by every route. */
import { z } from "@hono/zod-openapi";
import { parsePattern, patternExpected } from "../../oci/pattern.ts";
import { failure } from "./failure.ts";

/**
 * The value that `parse` reads from a text. Messages follow the parameter's name: `expected` where there is no such value,
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

/** An image, a glob over repositories, or a digest. */
export const imagePattern = parsed(parsePattern, `must be ${patternExpected}`).openapi({
  type: "string",
  example: "docker.io/library/nginx:1.29",
});

/** A body: an object with these fields and no others, which the document calls `name`. */
export function bodyOf<Shape extends z.ZodRawShape>(name: string, shape: Shape) {
  return z
    .strictObject(shape, {
      error: ({ code }) => (code === "unrecognized_keys" ? undefined : "must be a JSON object"),
    })
    .openapi(name);
}

/** A route's `request`, when its body is `schema`. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { body: { required: true, content: { "application/json": { schema } } } } as const;
}

/** The response to a body of another type. */
export const notJson = { 415: failure("The body is not JSON.") };
