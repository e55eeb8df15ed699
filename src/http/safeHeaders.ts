/** Headers that keep browsers from doing anything with an answer but showing it. */
import type { MiddlewareHandler } from "hono";

/** What every answer of the status listener says, where it does not say something else itself. */
export const safeHeaders = {
  "X-Content-Type-Options": "nosniff",
  // An answer that is a page says itself what it loads.
  "Content-Security-Policy":
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "X-Frame-Options": "DENY",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
} as const;

/** Sets them on every answer of the status listener, errors too, where it has none of its own. */
export const secured: MiddlewareHandler = async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(safeHeaders))
    if (!c.res.headers.has(name)) c.header(name, value);
};
