/** The certificates that are reported: those of the registry and its token service, and of them the first that ends. */
import { expect, test } from "vitest";
import { watchCertificates } from "../../../../src/upstream/net/httpClient.ts";

const registry = "https://registry.example";
const tokens = "https://tokens.example";

test("the first of an upstream's certificates to end is reported, as they were shown last", () => {
  const reported: number[] = [];
  const certified = watchCertificates([registry, tokens], (notAfter) => reported.push(notAfter));
  certified(registry, 2000);
  certified(tokens, 1000);
  certified(registry, 3000);
  certified(tokens, 5000);
  expect(reported).toEqual([2000, 1000, 1000, 3000]);
});

test("certificates of hosts that blobs are redirected to are not reported: they come and go", () => {
  const reported: number[] = [];
  watchCertificates([registry], (notAfter) => reported.push(notAfter))("https://cdn.example", 1000);
  expect(reported).toEqual([]);
});
