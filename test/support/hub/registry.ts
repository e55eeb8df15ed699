/** The registry's honest answers: what Docker Hub's registry-1.docker.io says to a pull. */
import { digestOf } from "../content.ts";
import { answer, contentAnswer, errorAnswer, jsonAnswer, type Answer, type AnswerHeaders } from "./answer.ts";
import { readBasic, uuidOf, type Accounts } from "./accounts.ts";
import type { PullWindows } from "./limit.ts";
import { rangeAnswer } from "./range.ts";
import type { HubRequest } from "./requests.ts";
import { indexOf, platformChild, type Shelf } from "./shelf.ts";

/** How the registry behaves; it may be changed while it runs. */
export interface RegistryBehaviour {
  /** `bearer` as Docker Hub does it, `basic` as a private ECR does, or open to all. */
  auth: "bearer" | "basic" | "none";
  /** Whether blobs are answered with a redirect to the CDN. */
  redirect: boolean;
  /** Whether there is a referrers API. Without it, the tag schema is served. */
  referrers: boolean;
  /** The most entries in a page of tags or referrers. */
  pageSize: number;
  /** The token service as the challenge names it. */
  realm: string;
}

/** What the registry works with. */
export interface RegistryParts {
  readonly behaviour: RegistryBehaviour;
  readonly shelf: Shelf;
  readonly accounts: Accounts;
  readonly windows: PullWindows;
  /** A fresh address of a blob at the CDN. */
  readonly cdnLocation: (digest: string) => string;
}

const always = { "docker-distribution-api-version": "registry/2.0" };
const indexTypes = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
];

/** The key that pulls are counted by: the account, or the address of those without one. */
export function pullKey(request: HubRequest): string {
  return request.account === undefined || request.account === "anonymous" ? request.remote : request.account;
}

/** The honest answer to a request; fills in who asked and what it cost. */
export function registryAnswer(parts: RegistryParts, request: HubRequest): Answer {
  const refused = refusal(parts, request);
  if (refused !== undefined) {
    return refused;
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return errorAnswer(405, "UNSUPPORTED", "The operation is unsupported.", always);
  }
  switch (request.kind) {
    case "ping":
      return jsonAnswer(200, {}, always);
    case "manifest":
      return manifestAnswer(parts, request);
    case "blob":
      return blobAnswer(parts, request);
    case "tags":
      return tagsAnswer(parts, request);
    case "referrers":
      return parts.behaviour.referrers ? referrersAnswer(parts, request) : notFound();
    default:
      return notFound();
  }
}

function notFound(): Answer {
  return answer(404, { "content-type": "text/plain", ...always }, "404 page not found\n");
}

function refusal(parts: RegistryParts, request: HubRequest): Answer | undefined {
  const { auth } = parts.behaviour;
  const repository = request.repository;
  if (auth === "basic") {
    const login = readBasic(request.headers.authorization);
    if (login === undefined || parts.accounts.login(login.name, login.password) !== "right") {
      return challenge(`Basic realm="${parts.behaviour.realm}"`);
    }
    request.account = login.name;
    return repository === undefined || parts.shelf.mayPull(repository, login.name)
      ? undefined
      : errorAnswer(403, "DENIED", "requested access to the resource is denied", always);
  }
  if (auth === "none") {
    request.account = "anonymous";
    return repository === undefined || parts.shelf.mayPull(repository, undefined)
      ? undefined
      : errorAnswer(404, "NAME_UNKNOWN", "repository name not known to registry", always);
  }
  const bearer = `Bearer realm="${parts.behaviour.realm}",service="registry.docker.io"`;
  const asked = repository === undefined ? bearer : `${bearer},scope="repository:${repository}:pull"`;
  const token = /^Bearer +(?<token>\S+)$/i.exec(request.headers.authorization ?? "")?.groups?.["token"];
  if (token === undefined) {
    return challenge(asked);
  }
  const claims = parts.accounts.verify(token);
  if (claims === undefined) {
    return challenge(`${asked},error="invalid_token"`);
  }
  request.account = claims.account ?? "anonymous";
  if (repository !== undefined && !claims.repositories.includes(repository)) {
    return challenge(`${asked},error="insufficient_scope"`, [
      { Type: "repository", Class: "", Name: repository, Action: "pull" },
    ]);
  }
  return undefined;
}

function challenge(value: string, detail?: unknown): Answer {
  const headers = { ...always, "www-authenticate": value };
  return errorAnswer(401, "UNAUTHORIZED", "authentication required", headers, detail);
}

function rateHeaders(parts: RegistryParts, request: HubRequest): AnswerHeaders {
  const key = pullKey(request);
  const { windows } = parts;
  const limit = windows.limit(key);
  const source = { "docker-ratelimit-source": key === request.remote ? key : uuidOf(key) };
  return limit === "unlimited"
    ? source
    : {
        "ratelimit-limit": `${limit};w=${windows.seconds}`,
        "ratelimit-remaining": `${windows.remaining(key)};w=${windows.seconds}`,
        ...source,
      };
}

function manifestAnswer(parts: RegistryParts, request: HubRequest): Answer {
  const key = pullKey(request);
  if (request.method === "GET") {
    // A GET is charged before it is known whether the manifest exists: what counts is the request.
    if (!parts.windows.take(key)) {
      return errorAnswer(
        429,
        "TOOMANYREQUESTS",
        key === request.remote
          ? "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
          : `You have reached your pull rate limit as '${key}'. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit`,
        { ...always, ...rateHeaders(parts, request) },
      );
    }
    request.charged = true;
  }
  const headers = { ...always, ...rateHeaders(parts, request) };
  const { repository = "", reference = "" } = request;
  const tagSchema = !parts.behaviour.referrers;
  let manifest = parts.shelf.manifest(repository, reference, tagSchema);
  if (manifest !== undefined && !reference.includes(":") && !takesIndex(request, manifest.mediaType)) {
    const child = platformChild(manifest.bytes);
    manifest = child === undefined ? manifest : parts.shelf.manifest(repository, child, tagSchema);
  }
  if (manifest === undefined) {
    return errorAnswer(404, "MANIFEST_UNKNOWN", "manifest unknown", headers, { Tag: reference });
  }
  const digest = digestOf(manifest.bytes);
  request.digest = digest;
  return answer(
    200,
    {
      "content-type": manifest.mediaType,
      "docker-content-digest": digest,
      etag: `"${digest}"`,
      ...headers,
    },
    manifest.bytes,
  );
}

/** Docker Hub converts: without an index type in Accept, a tag of an index gives linux/amd64's manifest. */
function takesIndex(request: HubRequest, mediaType: string): boolean {
  const accept = request.headers.accept ?? "";
  return !indexTypes.includes(mediaType) || accept.includes(mediaType) || accept.includes("*/*");
}

function blobAnswer(parts: RegistryParts, request: HubRequest): Answer {
  const { repository = "", digest = "" } = request;
  const content = parts.shelf.blob(repository, digest);
  if (content === undefined) {
    return errorAnswer(404, "BLOB_UNKNOWN", "blob unknown to registry", always, { digest });
  }
  if (parts.behaviour.redirect) {
    return answer(307, { ...always, location: parts.cdnLocation(digest) });
  }
  const headers = {
    ...always,
    "content-type": "application/octet-stream",
    "docker-content-digest": digest,
    etag: `"${digest}"`,
  };
  return request.method === "HEAD"
    ? contentAnswer(200, headers, content)
    : rangeAnswer(request.headers, headers, content);
}

function tagsAnswer(parts: RegistryParts, request: HubRequest): Answer {
  const { repository = "" } = request;
  const query = new URL(request.path, "http://registry.invalid").searchParams;
  const last = query.get("last") ?? "";
  const asked = query.get("n");
  const count = Math.min(asked === null ? Number.POSITIVE_INFINITY : Number(asked), parts.behaviour.pageSize);
  const rest = parts.shelf.tags(repository).filter((tag) => tag > last);
  const tags = rest.slice(0, count);
  const next =
    tags.length > 0 && rest.length > tags.length
      ? { link: `</v2/${repository}/tags/list?last=${tags.at(-1)}&n=${count}>; rel="next"` }
      : {};
  return jsonAnswer(200, { name: repository, tags }, { ...always, ...next });
}

function referrersAnswer(parts: RegistryParts, request: HubRequest): Answer {
  const { repository = "", digest } = request;
  if (digest === undefined || !/^sha256:[0-9a-f]{64}$/.test(digest)) {
    return errorAnswer(400, "DIGEST_INVALID", "provided digest is not valid", always);
  }
  const query = new URL(request.path, "http://registry.invalid").searchParams;
  const artifactType = query.get("artifactType");
  const last = query.get("last") ?? "";
  const rest = parts.shelf
    .referrers(repository, digest)
    .filter((referrer) => artifactType === null || referrer.artifactType === artifactType)
    .filter((referrer) => referrer.digest > last);
  const page = rest.slice(0, parts.behaviour.pageSize);
  const filter = artifactType === null ? "" : `&artifactType=${encodeURIComponent(artifactType)}`;
  return answer(
    200,
    {
      ...always,
      "content-type": indexTypes[0] ?? "",
      ...(artifactType === null ? {} : { "oci-filters-applied": "artifactType" }),
      ...(rest.length > page.length
        ? { link: `</v2/${repository}/referrers/${digest}?last=${page.at(-1)?.digest}${filter}>; rel="next"` }
        : {}),
    },
    indexOf(page),
  );
}
