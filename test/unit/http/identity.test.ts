/** Which names of a certificate count: those that Node shows unmistakably. */
import type { PeerCertificate } from "node:tls";
import { expect, test } from "vitest";
import { namesOf } from "../../../src/http/identity.ts";

function names(subjectaltname: string | undefined, CN?: string | string[]): readonly string[] {
  return namesOf({ subject: { CN }, subjectaltname } as unknown as PeerCertificate);
}

test("the common name, DNS names and URIs count, each once", () => {
  expect(names("DNS:node-1.example, URI:spiffe://cluster/ns/ci, IP Address:10.0.0.1", "node-1")).toEqual([
    "node-1",
    "node-1.example",
    "spiffe://cluster/ns/ci",
  ]);
  expect(names("DNS:node-1", "node-1")).toEqual(["node-1"]);
  expect(names(undefined, ["a", "b"])).toEqual(["a", "b"]);
  expect(names(undefined)).toEqual([]);
});

test.each([
  'DNS:"a, DNS:admin"',
  'DNS:"a, DNS:admin, DNS:b"',
  'URI:"http://x/\\", DNS:admin, DNS:\\"", DNS:"x"',
  'email:"a@b, DNS:admin"',
  'DNS:a"b, DNS:admin',
  'othername:<unsupported>, DNS:"x, DNS:admin"',
])("a name that stands inside of another is none: %s", (text) => {
  expect(names(text)).not.toContain("admin");
});
