/** Error responses of the API: one sentence, always as `{"error": …}`. */
import { z } from "@hono/zod-openapi";
import type { Context, ErrorHandler } from "hono";
import { HTTPException } from "hono/http-exception";
import type { Log } from "../../telemetry/log.ts";

const body = z.strictObject({ error: z.string().describe("One sentence for people.") }).openapi("Error");

/** An error among a route's responses. `description` says when it is sent. */
export function failure(description: string) {
  return { description, content: { "application/json": { schema: body } } };
}

/** The parts of zod's issues that a sentence is made of. */
interface Issue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

type Validation = { readonly success: boolean; readonly error?: { readonly issues: readonly Issue[] } };

/** Responds with 400 to input that does not match its schema, whose messages follow the name of what is wrong. */
export function refuseInput(result: Validation, c: Context): Response | undefined {
  const [issue] = result.error?.issues ?? [];
  return issue && c.json({ error: sentence(issue) }, 400);
}

function sentence({ code, path, message, keys = [] }: Issue): string {
  if (code === "unrecognized_keys") return `nothing is called ${JSON.stringify(keys[0])} here`;
  return `${path.join(".") || "the body"} ${message}`;
}

/** Responds to what a handler threw. Details of our own faults are logged, and not sent. */
export function onFailure(log: Log): ErrorHandler {
  return (error, c) => {
    if (error instanceof HTTPException && error.status === 415) {
      return c.json({ error: "the body must be JSON, with Content-Type: application/json" }, 415);
    }
    if (error instanceof HTTPException) return c.json({ error: "the body is not JSON" }, error.status);
    log.error({ err: error, path: c.req.path }, "request failed");
    return c.json({ error: "this is Hubcap's own fault; its log says more" }, 500);
  };
}
