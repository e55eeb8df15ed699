/** Verdicts: come to once for all who wait, kept while they hold, and come to again when they do not. */
import { beforeEach, expect, it } from "vitest";
import { ManifestVerdicts } from "../../../src/mirror/manifestVerdicts.ts";
import { UpstreamRequests } from "../../../src/mirror/upstreamRequests.ts";
import { PolicyRules, undecided } from "../../../src/mirror/policyRules.ts";
import { parsePattern } from "../../../src/oci/pattern.ts";
import { ociManifest } from "../../../src/oci/descriptor.ts";
import { openDatabase, SqliteFile } from "../../../src/store/sqlite/database.ts";
import { SqliteSightings } from "../../../src/store/sqlite/state.ts";
import { SqliteVerdicts } from "../../../src/store/sqlite/verdicts.ts";
import { UpstreamError } from "../../../src/upstream/error.ts";
import { FakeCatalog } from "../../support/fakeCatalog.ts";
import { clockAt, pullOf } from "../../support/pullContext.ts";
import { slow } from "../../support/slowStore.ts";
import { FakeBlobs } from "../../support/fakeBlobs.ts";
import { shelf, ShelfUpstream, versionOf } from "../../support/shelfUpstream.ts";
import { catalogSchema } from "../../../src/store/sqlite/schema.ts";
import { stateSchema } from "../../../src/store/sqlite/stateSchema.ts";

const repository = shelf(0);
const version = versionOf(0, 0);
const whole = {
  manifest: { digest: version.digest, mediaType: ociManifest, size: version.bytes.length },
  bytes: version.bytes,
};

let now = 1_000_000;
let isSigned = false;
let lists = 0;
let failing: UpstreamError | undefined;

class SigningUpstream extends ShelfUpstream {
  override async referrers(): Promise<[]> {
    lists += 1;
    if (failing) throw failing;
    return [];
  }
}

const upstream = new SigningUpstream();

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** The rule for signatures, which count when {@link isSigned}; and where it is applied. */
function open(database = openDatabase(":memory:", catalogSchema)) {
  const pattern = parsePattern("**");
  if (!pattern) throw new Error("no pattern");
  const judge = { key: "one", name: "verify.0", judge: () => (isSigned ? undefined : "it is wrong") };
  const decision = new PolicyRules([], [{ repositories: [pattern], judge }])
    .rulesFor(repository)
    .decisionFor({ digest: version.digest });
  if (decision === undecided) throw new Error("undecided");
  const requests = new UpstreamRequests(
    new AbortController().signal,
    clockAt(() => now),
  );
  const payload = Buffer.from("{}");
  const signature = { ...version, bytes: Buffer.from(version.bytes) };
  const verdicts = new ManifestVerdicts({
    verdicts: new SqliteVerdicts(new SqliteFile(database)),
    sightings: new SqliteSightings(SqliteFile.inMemory(stateSchema)),
    catalog: slow(new FakeCatalog()),
    blobs: slow(new FakeBlobs()),
    manifestPulls: {
      get: async () => {
        if (failing) throw failing;
        const layers = [
          { mediaType: "application/vnd.dev.cosign.simplesigning.v1+json", digest: version.digest, size: 2 },
        ];
        const bytes = Buffer.from(
          JSON.stringify({ schemaVersion: 2, mediaType: ociManifest, config: layers[0], layers }),
        );
        return { outcome: "hit", manifest: { ...whole.manifest, digest: signature.digest }, bytes };
      },
    },
    blobPulls: {
      get: async () => ({
        outcome: "hit",
        size: payload.length,
        content: { size: payload.length, pieces: () => pieces(payload), close: async () => {} },
      }),
    },
    requests,
    now: () => now,
  });
  return { database, verdict: () => verdicts.of(pullOf(upstream, repository), whole, decision) };
}

beforeEach(() => {
  now = 1_000_000;
  isSigned = false;
  lists = 0;
  failing = undefined;
});

it("serves an image a minute after it was refused, when it was signed meanwhile", async () => {
  const { verdict } = open();
  expect((await verdict()).refusal?.reason).toBe("signature");
  isSigned = true;
  now += 59_000;
  expect((await verdict()).refusal?.reason).toBe("signature");
  now += 2_000;
  expect(await verdict()).toEqual({});
});

it("keeps what is proven for good, for the next process too", async () => {
  isSigned = true;
  const { database, verdict } = open();
  expect(await verdict()).toEqual({});
  isSigned = false;
  now += 365 * 86_400_000;
  expect(await verdict()).toEqual({});
  expect(await open(database).verdict()).toEqual({});
});

it("comes to one verdict for all who wait", async () => {
  const { verdict } = open();
  const all = await Promise.all(Array.from({ length: 50 }, verdict));
  expect(new Set(all.map(({ refusal }) => refusal?.why)).size).toBe(1);
  expect(lists).toBe(1);
});

it("keeps no verdict for want of an answer", async () => {
  const { verdict } = open();
  failing = new UpstreamError("limited", "no pulls are left");
  await expect(verdict()).rejects.toThrow("no pulls are left");
  failing = undefined;
  isSigned = true;
  expect(await verdict()).toEqual({});
});
