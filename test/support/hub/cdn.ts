/** The CDN's honest answers: blobs at signed addresses that expire. */
import { createHmac, randomBytes } from "node:crypto";
import { answer, type Answer } from "./answer.ts";
import { rangeAnswer } from "./range.ts";
import type { HubRequest } from "./requests.ts";
import type { Shelf } from "./shelf.ts";

// Docker Hub's R2 addresses: X-Amz-Expires=1200.
const lifetimeSeconds = 1200;

/** Addresses that carry their own expiry, as Cloudflare's `verify=<expiry>-<hmac>`. */
export class SignedPaths {
  readonly #secret = randomBytes(32);
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  sign(digest: string): string {
    const hex = digest.slice(7);
    const path = `/registry-v2/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
    const expiry = Math.floor(this.#now() / 1000) + lifetimeSeconds;
    return `${path}?verify=${expiry}-${this.#mac(path, expiry)}`;
  }

  valid(url: string): boolean {
    const { pathname, searchParams } = new URL(url, "http://cdn.invalid");
    const [expiry = "", mac] = (searchParams.get("verify") ?? "").split(/-(?<mac>.*)/);
    return mac === this.#mac(pathname, Number(expiry)) && Number(expiry) * 1000 > this.#now();
  }

  #mac(path: string, expiry: number): string {
    return createHmac("sha256", this.#secret).update(`${path} ${expiry}`).digest("base64url");
  }
}

/** The honest answer to a request at the CDN. */
export function cdnAnswer(shelf: Shelf, paths: SignedPaths, request: HubRequest): Answer {
  // As S3 and R2 do, where the signed address and the header are two authorizations at once.
  if (request.headers.authorization !== undefined) {
    return answer(
      400,
      { "content-type": "application/xml" },
      "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>",
    );
  }
  const hops = /^\/hops\/(?<left>\d+)\?to=(?<to>.*)$/.exec(request.path)?.groups;
  if (hops !== undefined) {
    const left = Number(hops["left"]);
    const to = hops["to"] ?? "";
    return answer(307, { location: left === 0 ? decodeURIComponent(to) : `/hops/${left - 1}?to=${to}` });
  }
  if (request.path === "/loop") {
    return answer(307, { location: "/loop" });
  }
  if (request.digest === undefined || (request.method !== "GET" && request.method !== "HEAD")) {
    return answer(404, {});
  }
  if (!paths.valid(request.path)) {
    return answer(403, { "content-type": "text/plain" }, "the address has expired or was tampered with\n");
  }
  const content = shelf.anyBlob(request.digest);
  return content === undefined
    ? answer(404, {})
    : rangeAnswer(
        request.headers,
        { "content-type": "application/octet-stream", etag: `"${request.digest.slice(7, 39)}"` },
        content,
      );
}
