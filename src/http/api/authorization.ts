/** What the admin token allows in the status API: changes, and to see repositories that not all clients may pull. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import { anonymousClient, operator, type ClientIdentity } from "../../mirror/context.ts";
import type { Mirror } from "../../mirror/mirror.ts";
import type { MayRead } from "../redact.ts";
import { failure } from "./failure.ts";

/** The token of the configuration, which nothing prints. */
export interface AdminToken {
  reveal(): string;
}

/** What every resource needs that names repositories. */
export interface ViewerOptions {
  readonly mirror: Pick<Mirror, "mayKnow">;
  readonly adminToken: AdminToken | undefined;
}

/** May the sender of a request know of a repository? */
export function mayKnowOf(c: Context, { mirror, adminToken }: ViewerOptions): MayRead {
  const viewer = viewerOf(c, { adminToken });
  return (repository) => mirror.mayKnow(viewer, repository);
}

/** The sender of a request: the operator or anonymous. Identities of clients do not count here: they are for pulls. */
export function viewerOf(c: Context, { adminToken }: Pick<ViewerOptions, "adminToken">): ClientIdentity {
  return isAdmin(adminToken, c.req.header("Authorization")) ? operator : anonymousClient;
}

/** Why a changing call is refused with 404. */
export const changesOff = "No admin token is configured, so nothing can be changed.";

/** What a route says that changes something: the admin token is checked before anything else of the request is read. */
export function changing(token: AdminToken | undefined) {
  return { security: [{ adminToken: [] }], middleware: adminOnly(token) };
}

/** The responses to a changing call without the admin token. */
export const withoutToken = {
  401: failure("The admin token is missing or wrong."),
  404: failure(changesOff),
};

/** Passes requests with `token` as their bearer. 401 for any other; 404 when no token is configured. */
function adminOnly(token: AdminToken | undefined): MiddlewareHandler {
  return async (c, next) => {
    if (!token) {
      return c.json({ error: "changing calls are off: name a file with a token in admin.tokenFile" }, 404);
    }
    if (!isAdmin(token, c.req.header("Authorization"))) {
      c.header("WWW-Authenticate", "Bearer");
      return c.json({ error: "this call needs the admin token, as Authorization: Bearer TOKEN" }, 401);
    }
    await next();
  };
}

function isAdmin(token: AdminToken | undefined, authorization: string | undefined): boolean {
  const given = /^Bearer +(.+)$/i.exec(authorization ?? "")?.[1];
  return token !== undefined && given !== undefined && isSame(given, token.reveal());
}

/** Compares digests, so that the time tells neither how much is right nor how long the token is. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(sha256(one), sha256(other));
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
