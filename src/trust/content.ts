/** Checks that a signed statement is cosign's, and about the image. */
import { createHash } from "node:crypto";
import { algorithmOf, hexOf, parseDigest } from "../oci/digest.ts";
import { signPredicate, type Signed } from "./signature.ts";

const statementType = "application/vnd.in-toto+json";

type Document = Readonly<Record<string, unknown>>;

/** Why a payload of the tag scheme (containers/image "simple signing") is not for `image`; undefined if it is. */
export function faultOfPayload(payload: Buffer, { digest }: Signed): string | undefined {
  const critical = at(readJson(payload), "critical");
  if (at(critical, "type") !== "cosign container image signature") return "it signs no image";
  const named = at(at(critical, "image"), "docker-manifest-digest");
  return named === digest ? undefined : ofAnother(named);
}

/** Why an in-toto statement in a DSSE envelope is not cosign's signature of `image`; undefined if it is. */
export function faultOfStatement(type: string, payload: Buffer, { digest }: Signed): string | undefined {
  const statement = type === statementType ? readJson(payload) : undefined;
  if (at(statement, "predicateType") !== signPredicate) return "it is an attestation and no signature";
  const subjects = at(statement, "subject");
  const algorithm = algorithmOf(digest);
  const named = (Array.isArray(subjects) ? subjects : [])
    .map((subject: unknown) => at(at(subject, "digest"), algorithm))
    .filter((hex) => typeof hex === "string");
  if (named.includes(hexOf(digest))) return undefined;
  const [other] = named;
  return other === undefined ? `it names no ${algorithm} digest` : ofAnother(`${algorithm}:${other}`);
}

/** Why a signature of a message with this digest is not of `image`; undefined if it is. */
export function faultOfMessage(
  algorithm: "sha256" | "sha384" | "sha512" | undefined,
  digest: Buffer,
  { bytes }: Signed,
): string | undefined {
  if (!algorithm) return "it names no digest of a kind that is known";
  const found = createHash(algorithm).update(bytes).digest();
  return found.equals(digest) ? undefined : "it is of another image";
}

function ofAnother(named: unknown): string {
  const digest = typeof named === "string" ? parseDigest(named) : undefined;
  return `it is of another image${digest ? ` (${digest})` : ""}`;
}

function readJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

function at(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Document)[key] : undefined;
}
