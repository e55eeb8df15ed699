/** Digests name content, and nothing else can be made from text. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { algorithmOf, digestOf, finish, hashFor, hexOf, parseDigest } from "../../../src/oci/digest.ts";

// FIPS 180-4's example: "abc".
const abc = {
  sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  sha512:
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" +
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
};

test.each(["sha256", "sha512"] as const)("%s names content as the standard says", (algorithm) => {
  const digest = digestOf(Buffer.from("abc"), algorithm);
  expect(digest).toBe(`${algorithm}:${abc[algorithm]}`);
  expect(algorithmOf(digest)).toBe(algorithm);
  expect(hexOf(digest)).toBe(abc[algorithm]);
});

test("a digest reads back, and content hashed in pieces comes to the same", () => {
  const algorithms = fc.constantFrom("sha256" as const, "sha512" as const);
  fc.assert(
    fc.property(fc.array(fc.uint8Array()), algorithms, (pieces, algorithm) => {
      const digest = digestOf(Buffer.concat(pieces), algorithm);
      expect(parseDigest(digest)).toBe(digest);
      const hash = hashFor(digest);
      for (const piece of pieces) hash.update(piece);
      expect(finish(hash, algorithmOf(digest))).toBe(digest);
    }),
  );
});

test.each([
  "",
  "sha256",
  "sha256:",
  abc.sha256,
  `sha256:${abc.sha256.slice(1)}`,
  `sha256:${abc.sha256}0`,
  `sha256:${abc.sha256.toUpperCase()}`,
  `SHA256:${abc.sha256}`,
  `sha512:${abc.sha256}`,
  `sha1:${abc.sha256.slice(0, 40)}`,
  `blake3:${abc.sha256}`,
  `sha256:${abc.sha256}\n`,
  ` sha256:${abc.sha256}`,
  `sha256:${"../".repeat(21)}x`,
])("S15 %j is no digest", (text) => {
  expect(parseDigest(text)).toBeUndefined();
});
