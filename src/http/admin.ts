/** Leave to change something: the admin token, for every call that is not a mere question. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";

/** The token of the configuration, which nothing prints. */
export interface AdminToken {
  reveal(): string;
}

/**
 * Lets a request pass that carries `token` as its bearer. 401 for any other, and 404 when no token is configured: then
 * there are no such calls.
 */
export function adminOnly(token: AdminToken | undefined): MiddlewareHandler {
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

/** Does an Authorization header carry `token`? */
export function isAdmin(token: AdminToken | undefined, authorization: string | undefined): boolean {
  const given = /^Bearer +(.+)$/i.exec(authorization ?? "")?.[1];
  return token !== undefined && given !== undefined && isSame(given, token.reveal());
}

/** Compares digests, so that the time it takes tells neither how much is right nor how long the token is. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(sha256(one), sha256(other));
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
