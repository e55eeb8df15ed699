/** Answering with an app of the framework: for the faces where its comfort is worth more than its cost. */
import { getRequestListener } from "@hono/node-server";
import type { Hono } from "hono";
import type { RequestListener } from "node:http";

/** What answers as `app` says. */
// eslint-disable-next-line typescript/no-explicit-any -- faces differ in their bindings, which the listener provides
export function answersOf(app: Pick<Hono<any>, "fetch">): RequestListener {
  const answer = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  return (incoming, outgoing) => void answer(incoming, outgoing);
}
