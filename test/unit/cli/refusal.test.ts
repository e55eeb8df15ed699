/** What `hubcap doctor` makes of a mirror's error: it goes by the reason for programs, never by the sentence. */
import { describe, expect, test } from "vitest";
import { refusalOf } from "../../../src/cli/doctor/refusal.ts";
import { RegistryError, type ErrorCode, type ErrorReason } from "../../../src/oci/error.ts";

const asked = { mirror: "mirror.example:5000", upstream: "docker.io", what: "docker.io/library/app:1" };

const findingFor = (error: RegistryError, body: unknown = error) =>
  refusalOf({ status: error.status, headers: {}, body: Buffer.from(JSON.stringify(body)) }, asked);

const rows: [code: ErrorCode, reason: ErrorReason, verdict: string][] = [
  ["NAME_UNKNOWN", "host-not-served", "host-not-served"],
  ["UNAUTHORIZED", "login-required", "mirror-login"],
  ["DENIED", "denied-by-policy", "policy-refused"],
  ["DENIED", "denied-by-upstream", "no-access"],
  ["DENIED", "credential-refused", "credential-refused"],
  ["TOOMANYREQUESTS", "quota", "rate-limited"],
  ["UNAVAILABLE", "quota", "rate-limited"],
  ["TOOMANYREQUESTS", "upstream-rate-limit", "rate-limited"],
  ["TOOMANYREQUESTS", "client-limit", "rate-limited"],
  ["UNAVAILABLE", "upstream-unreachable", "upstream-down"],
  ["UNAVAILABLE", "shutting-down", "mirror-down"],
  ["UPSTREAM_INVALID", "upstream-invalid", "upstream-broken"],
  ["UPSTREAM_INVALID", "token-realm", "token-realm"],
  ["UPSTREAM_INVALID", "private-address", "private-address"],
  ["UNKNOWN", "internal", "upstream-broken"],
];

describe("an error", () => {
  test.each(rows)("%s for %s is %s, whatever its sentence says", (code, reason, verdict) => {
    for (const message of [
      "",
      "xyzzy",
      "denies anonymous pulls access to, is not served here, tokenRealms",
    ]) {
      expect(findingFor(new RegistryError(code, message, { reason })).code).toBe(verdict);
    }
  });

  test.each([
    ["DENIED", "no-access"],
    ["TOOMANYREQUESTS", "rate-limited"],
    ["UNAVAILABLE", "upstream-down"],
    ["UPSTREAM_INVALID", "upstream-broken"],
  ] satisfies [ErrorCode, string][])(
    "%s without a reason is judged by its code, and says so",
    (code, verdict) => {
      const error = new RegistryError(code, "denied-by-policy");
      const { code: found, message } = findingFor(error, { errors: [{ code, message: error.message }] });
      expect(found).toBe(verdict);
      expect(message).toContain(
        `it gives no reason for programs, so this goes by its status ${error.status}`,
      );
    },
  );
});
