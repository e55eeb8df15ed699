/** Bodies of requests: JSON objects, described and refused alike by every route that takes one. */
import { z } from "@hono/zod-openapi";
import { failure } from "./failure.ts";

/** An object with these fields and no others; the document calls it `name`. */
export function bodyOf<Shape extends z.ZodRawShape>(name: string, shape: Shape) {
  return z
    .strictObject(shape, {
      error: ({ code }) => (code === "unrecognized_keys" ? undefined : "must be a JSON object"),
    })
    .openapi(name);
}

/** What a route says of its request, when `schema` is what it takes. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { body: { required: true, content: { "application/json": { schema } } } } as const;
}

/** The answer to a body that is something else. */
export const notJson = { 415: failure("The body is not JSON.") };
