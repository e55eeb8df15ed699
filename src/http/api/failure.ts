/** What the API says when it cannot answer: one sentence, always as `{"error": …}`. */
import { z } from "@hono/zod-openapi";
import type { Context, ErrorHandler } from "hono";
import { HTTPException } from "hono/http-exception";
import type { Log } from "../../telemetry/log.ts";

const body = z.strictObject({ error: z.string().describe("One sentence for people.") }).openapi("Error");

/** An error among a route's responses. `description` says when it is given. */
export function failure(description: string) {
  return { description, content: { "application/json": { schema: body } } };
}

/** The parts of zod's issues that a sentence is made of. */
interface Flaw {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

type Checked = { readonly success: boolean; readonly error?: { readonly issues: readonly Flaw[] } };

/** Answers 400 to input that its schema does not take. The schema's messages follow the name of what is wrong. */
export function refuseInput(result: Checked, c: Context): Response | undefined {
  const [flaw] = result.error?.issues ?? [];
  return flaw && c.json({ error: sentence(flaw) }, 400);
}

function sentence({ code, path, message, keys = [] }: Flaw): string {
  if (code === "unrecognized_keys") return `nothing is called ${JSON.stringify(keys[0])} here`;
  return `${path.join(".") || "the body"} ${message}`;
}

/** Answers what a handler threw. What is our own fault goes to the log and not to the client. */
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
