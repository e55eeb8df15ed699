/** Answers: what the mirror found, as headers from a fixed list and then bytes. Nothing of an upstream's headers is copied. */
import type { ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Staleness } from "../mirror/ask.ts";
import type { BlobAnswer } from "../mirror/layers.ts";
import type { ManifestAnswer } from "../mirror/manifests.ts";
import type { Digest } from "../oci/digest.ts";
import { RegistryError } from "../oci/error.ts";
import { formatContentRange, parseRange } from "../oci/range.ts";

type Headers = { [name: string]: string };

/** What every answer of the registry says. Docker's own clients look for the version on `/v2/`. */
export function commonHeaders(namespace: string | undefined): Headers {
  return {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "X-Content-Type-Options": "nosniff",
    ...(namespace && { "OCI-Namespace": namespace }),
  };
}

export function manifestReply({ manifest, bytes, age, stale }: ManifestAnswer, headers: Headers): Response {
  return new Response(bytes ?? null, {
    headers: {
      ...headers,
      ...staleHeaders(stale),
      ...(age !== undefined && { Age: String(age) }),
      "Content-Type": manifest.mediaType,
      "Content-Length": String(manifest.size),
      "Docker-Content-Digest": manifest.digest,
    },
  });
}

export function jsonReply(body: unknown, headers: Headers, status = 200): Response {
  const text = JSON.stringify(body);
  return new Response(text, {
    status,
    headers: {
      "Content-Type": "application/json",
      ...headers,
      "Content-Length": String(Buffer.byteLength(text)),
    },
  });
}

/** `Age` and the spec's only form of a warning: code 299, agent "-". */
export function staleHeaders(stale: Staleness | undefined): Headers {
  if (!stale) return {};
  const text = stale.warning.replaceAll(/[^ -~]|["\\]/g, " ").slice(0, 1000);
  return { Age: String(stale.age), Warning: `299 - "${text}"` };
}

export function errorReply(error: RegistryError, headers: Headers): Response {
  return jsonReply(
    error,
    { ...headers, ...(error.retryAfter !== undefined && { "Retry-After": String(error.retryAfter) }) },
    error.status,
  );
}

/**
 * Sends a blob past the framework, straight from the file to the connection: through web streams the same bytes cost
 * twice the CPU. From its headers on, a failure can only be told by cutting the connection, as is a client that takes
 * nothing for `stallMs`.
 */
export async function sendBlob(
  outgoing: ServerResponse,
  { size, content }: BlobAnswer,
  digest: Digest,
  range: string | undefined,
  headers: Headers,
  stallMs: number,
): Promise<Response> {
  const all = {
    ...headers,
    "Content-Type": "application/octet-stream",
    "Docker-Content-Digest": digest,
    ...(size !== undefined && { "Accept-Ranges": content?.fromStart ? "none" : "bytes" }),
  };
  // A server may answer a range with the whole (RFC 9110, 14.2): clients then skip what they have.
  const asked = size === undefined || content?.fromStart ? "whole" : parseRange(range, size);
  if (asked === "unsatisfiable") {
    await content?.close();
    const error = new RegistryError("SIZE_INVALID");
    return errorReply(error, { ...headers, "Content-Range": formatContentRange(asked, size ?? 0) });
  }
  if (size !== undefined && asked !== "whole") {
    const { start, end } = asked;
    outgoing.writeHead(206, {
      ...all,
      "Content-Range": formatContentRange(asked, size),
      "Content-Length": end - start,
    });
  } else {
    outgoing.writeHead(200, { ...all, ...(size !== undefined && { "Content-Length": size }) });
  }
  if (!content) {
    outgoing.end();
    return RESPONSE_ALREADY_SENT;
  }
  // Clients wait for headers with a shorter patience than for bytes, and a fill's first ones may take a while.
  outgoing.flushHeaders();
  outgoing.setTimeout(stallMs, () => {
    if (outgoing.writableLength > 0) outgoing.destroy();
  });
  const stream = content.stream(asked === "whole" ? undefined : asked);
  try {
    await pipeline(stream, outgoing);
  } catch {
    // `pipeline` has cut the connection. A client that left is ordinary; a fill that failed is told where it ran.
    // When the client had left before, `pipeline` has not touched the stream, and its file would stay open.
    stream.destroy();
  }
  return RESPONSE_ALREADY_SENT;
}
