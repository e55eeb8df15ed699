/** Answering with an app of the framework: for the status face, where its comfort is worth more than its cost. */
import { getRequestListener } from "@hono/node-server";
import type { Env, Hono } from "hono";
import type { RequestListener } from "node:http";

/** What answers as `app` says. */
export function handlerOf(app: Pick<Hono<Env>, "fetch">): RequestListener {
  const answer = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  return (incoming, outgoing) => void answer(incoming, outgoing);
}
