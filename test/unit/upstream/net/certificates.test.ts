/** Which certificates an operator is told of: those of the registry and its token service, and of them the first that ends. */
import { expect, test } from "vitest";
import { watchCertificates } from "../../../../src/upstream/net/httpClient.ts";

const registry = "https://registry.example";
const tokens = "https://tokens.example";

test("the first of an upstream's certificates to end is told, as they were shown last", () => {
  const told: number[] = [];
  const certified = watchCertificates([registry, tokens], (notAfter) => told.push(notAfter));
  certified(registry, 2000);
  certified(tokens, 1000);
  certified(registry, 3000);
  certified(tokens, 5000);
  expect(told).toEqual([2000, 1000, 1000, 3000]);
});

test("where blobs are redirected to is not told of: it comes and goes, and would be said to end for ever", () => {
  const told: number[] = [];
  watchCertificates([registry], (notAfter) => told.push(notAfter))("https://cdn.example", 1000);
  expect(told).toEqual([]);
});
