/** Who looks at the status API: the operator sees all there is, anybody else what anybody may pull. */
import type { Context } from "hono";
import type { Mirror } from "../../mirror/mirror.ts";
import { operator, anonymousClient, type ClientIdentity } from "../../mirror/identity.ts";
import { isAdmin, type AdminToken } from "../admin.ts";
import type { MayRead } from "../redact.ts";

/** What every resource needs that names repositories. */
export interface ViewerOptions {
  readonly mirror: Pick<Mirror, "mayKnow">;
  readonly adminToken: AdminToken | undefined;
}

/** May who a request is from be told of a repository? */
export function mayKnowOf(c: Context, { mirror, adminToken }: ViewerOptions): MayRead {
  const viewer = viewerOf(c, { adminToken });
  return (repository) => mirror.mayKnow(viewer, repository);
}

/** Who a request is from. Clients' own identities mean nothing here: they are for pulling. */
export function viewerOf(c: Context, { adminToken }: Pick<ViewerOptions, "adminToken">): ClientIdentity {
  return isAdmin(adminToken, c.req.header("Authorization")) ? operator : anonymousClient;
}
