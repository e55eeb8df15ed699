/** The token service's honest answers: what auth.docker.io says (distribution's token specification, both forms). */
import { jsonAnswer, type Answer } from "./answer.ts";
import { readBasic, type Accounts, type Login } from "./accounts.ts";
import type { PullWindows } from "./limit.ts";
import type { HubRequest } from "./requests.ts";
import type { Shelf } from "./shelf.ts";

export interface TokenParts {
  readonly shelf: Shelf;
  readonly accounts: Accounts;
  readonly windows: PullWindows;
  /** Seconds that a token is valid for. */
  readonly tokenTtl: () => number;
  readonly now: () => number;
}

/** The honest answer to a token request; `body` is the form of a POST. */
export function tokenAnswer(parts: TokenParts, request: HubRequest, body: string): Answer {
  const url = new URL(request.path, "http://token.invalid");
  if (url.pathname !== "/token") {
    return jsonAnswer(404, { details: "not found" });
  }
  if (request.method === "POST") {
    return oauthAnswer(parts, request, new URLSearchParams(body));
  }
  if (request.method !== "GET") {
    return jsonAnswer(405, { details: "method not allowed" });
  }
  const login = readBasic(request.headers.authorization);
  const refused = login === undefined ? undefined : refusal(parts.accounts.login(login.name, login.password));
  request.account = login?.name ?? "anonymous";
  if (refused !== undefined) {
    return refused;
  }
  const issued = issue(parts, login?.name, request, url.searchParams.getAll("scope"));
  const offline = url.searchParams.get("offline_token") === "true" && login !== undefined;
  return jsonAnswer(200, {
    token: issued.access_token,
    ...issued,
    ...(offline ? { refresh_token: parts.accounts.identityTokenOf(login.name) } : {}),
  });
}

function refusal(login: Login): Answer | undefined {
  if (login === "right") {
    return undefined;
  }
  return login === "locked"
    ? jsonAnswer(429, { details: "too many failed login attempts for username or IP address" })
    : jsonAnswer(401, { details: "incorrect username or password" });
}

function oauthAnswer(parts: TokenParts, request: HubRequest, form: URLSearchParams): Answer {
  let account: string | undefined;
  if (form.get("grant_type") === "refresh_token") {
    account = parts.accounts.identified(form.get("refresh_token") ?? "");
    if (account === undefined) {
      return jsonAnswer(401, { details: "invalid refresh token" });
    }
  } else if (form.get("grant_type") === "password") {
    account = form.get("username") ?? "";
    const refused = refusal(parts.accounts.login(account, form.get("password") ?? ""));
    if (refused !== undefined) {
      request.account = account;
      return refused;
    }
  } else {
    return jsonAnswer(400, { details: "unsupported grant type" });
  }
  request.account = account;
  const scopes = form.getAll("scope").flatMap((scope) => scope.split(" "));
  const offline = form.get("access_type") === "offline" || form.get("grant_type") === "refresh_token";
  return jsonAnswer(200, {
    ...issue(parts, account, request, scopes),
    ...(offline ? { refresh_token: parts.accounts.identityTokenOf(account) } : {}),
  });
}

/** A token for those of the asked scopes that the account may have; like Docker Hub's, it is given even if none is left. */
function issue(
  parts: TokenParts,
  account: string | undefined,
  request: HubRequest,
  scopes: readonly string[],
): { access_token: string; expires_in: number; issued_at: string } {
  const repositories = scopes
    .map((scope) => /^repository:(?<name>[^:]+):(?:.*,)?pull(?:,.*)?$/.exec(scope)?.groups?.["name"])
    .filter((name) => name !== undefined)
    .filter((name) => parts.shelf.mayPull(name, account));
  const seconds = parts.tokenTtl();
  const limit = parts.windows.limit(account ?? request.remote);
  return {
    access_token: parts.accounts.issue({ account, repositories }, seconds, limit, parts.windows.seconds),
    expires_in: seconds,
    issued_at: new Date(parts.now()).toISOString(),
  };
}
