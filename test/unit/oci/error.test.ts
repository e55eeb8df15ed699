/** An error as a client reads it. */
import { expect, test } from "vitest";
import { RegistryError } from "../../../src/oci/error.ts";

test("an error has its code's status and sentence, unless a better one is known", () => {
  expect(new RegistryError("BLOB_UNKNOWN")).toMatchObject({
    status: 404,
    message: "blob unknown to registry",
  });
  expect(new RegistryError("TOOMANYREQUESTS", "wait", { retryAfter: 5 })).toMatchObject({
    status: 429,
    message: "wait",
    retryAfter: 5,
  });
});

test("its body is the spec's, and tells nothing of the cause", () => {
  const error = new RegistryError("DENIED", "not yours", { cause: new Error("secret") });
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    errors: [{ code: "DENIED", message: "not yours", detail: { reason: "denied-by-upstream" } }],
  });
});
