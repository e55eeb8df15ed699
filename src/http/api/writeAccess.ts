/** What all routes have in common that change something: they need the admin token, and say so. */
import { adminOnly, type AdminToken } from "../admin.ts";
import { failure } from "./failure.ts";

/** Why a changing call is refused with 404. */
export const changesOff = "No admin token is configured, so nothing can be changed.";

/** Lets only the admin token pass, before anything else of a request is read. */
export function changing(token: AdminToken | undefined) {
  return { security: [{ adminToken: [] }], middleware: adminOnly(token) };
}

/** The answers to a changing call without the admin token. */
export const withoutToken = {
  401: failure("The admin token is missing or wrong."),
  404: failure(changesOff),
};
