/** What a token says about itself. Nothing here is verified, so nothing may be allowed because of it. */

/** The claims of a JSON Web Token (RFC 7519), or none when it is something else. */
export function claimsOf(token: string): Readonly<Record<string, unknown>> {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
