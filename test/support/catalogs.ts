/**
 * Catalogs as earlier versions of Hubcap have written them: what is under storage.root today is opened for ever. These are
 * frozen copies, not the steps of src/store/sqlite/schema.ts: a step that somebody changes by mistake must not change them too.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

/** The first schema, with one list. */
export const schemaOne = `
CREATE TABLE blob (
  digest TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  stored_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE manifest (
  digest TEXT PRIMARY KEY,
  media_type TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE named (
  manifest TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (manifest, digest)
) WITHOUT ROWID;
CREATE INDEX named_digest ON named (digest);
CREATE TABLE held (
  upstream TEXT NOT NULL,
  repository TEXT NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (upstream, repository, digest)
) WITHOUT ROWID;
CREATE INDEX held_digest ON held (digest);
CREATE TABLE tag (
  upstream TEXT NOT NULL,
  repository TEXT NOT NULL,
  tag TEXT NOT NULL,
  digest TEXT NOT NULL,
  media_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  checked_at INTEGER NOT NULL,
  alternate TEXT,
  last_held TEXT,
  PRIMARY KEY (upstream, repository, tag)
) WITHOUT ROWID;
CREATE TABLE listing (
  upstream TEXT NOT NULL,
  repository TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL,
  checked_at INTEGER NOT NULL,
  PRIMARY KEY (upstream, repository, subject)
) WITHOUT ROWID;
INSERT INTO listing VALUES ('docker.io', 'library/nginx', 'tags', '["1.29"]', 1);
PRAGMA user_version = 1;
`;

/**
 * Writes a catalog into `root` as Hubcap 75e3c9f made it, in which everything lay in one file: an image with its tag and its
 * verdict, pins of the API and of the cluster, an anchor, a sighting, visibility, a warm job, and a ledger with seven pulls.
 */
export async function writeOldCatalog(root: string): Promise<void> {
  const packed = await readFile(new URL("fixtures/catalog-7.sqlite.gz", import.meta.url));
  await writeFile(join(root, "catalog.sqlite"), gunzipSync(packed));
}
