/** The catalog's tables, as the steps that lead there. */
import type { Schema } from "./database.ts";
import { migrateLedger } from "./ledgerTables.ts";

/** What is held, who may have it, and what tags and lists meant when they were last asked for. */
const content = `
  -- Bytes that lie under blobs/, manifests among them.
  CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    stored_at INTEGER NOT NULL
  ) WITHOUT ROWID;

  CREATE TABLE manifest (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL
  ) WITHOUT ROWID;

  -- What a manifest names: children, config, layers and subject, held or not.
  CREATE TABLE named (
    manifest TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (manifest, digest)
  ) WITHOUT ROWID;
  CREATE INDEX named_digest ON named (digest);

  -- Who may have what: the upstream answered for this digest in this repository.
  CREATE TABLE held (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (upstream, repository, digest)
  ) WITHOUT ROWID;
  CREATE INDEX held_digest ON held (digest);

  -- What a tag meant when it was last checked (by whom, if not by the upstream), and which manifest can be served for it if that one cannot be had.
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

  -- Lists as the upstream last gave them: a repository's tags, a manifest's referrers.
  CREATE TABLE listing (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, subject)
  ) WITHOUT ROWID;
`;

/** When images were used and what names what, so that eviction knows at once what goes; and pins. */
const use = `
  -- What a referrer is about. A subject keeps its referrers; what a manifest names, that manifest keeps.
  ALTER TABLE manifest ADD COLUMN subject TEXT;
  CREATE INDEX manifest_subject ON manifest (subject) WHERE subject IS NOT NULL;

  -- Manifests by the repository that holds them: since when, and when and how often they were asked for.
  CREATE TABLE image (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    held_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    uses INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, digest)
  ) WITHOUT ROWID;
  CREATE INDEX image_digest ON image (digest);
  CREATE INDEX image_used ON image (used_at);
  INSERT INTO image SELECT upstream, repository, digest, stored_at, stored_at, 0
    FROM held JOIN manifest USING (digest) JOIN blob USING (digest);
  CREATE INDEX tag_digest ON tag (upstream, repository, digest);

  -- Patterns of images that are never evicted, beside those of the configuration.
  CREATE TABLE pin (pattern TEXT PRIMARY KEY, pinned_at INTEGER NOT NULL) WITHOUT ROWID;

  -- The sums over blob and manifest, kept by the triggers below so that no one has to count a million rows.
  CREATE TABLE total (bytes INTEGER NOT NULL, blobs INTEGER NOT NULL, manifests INTEGER NOT NULL);
  INSERT INTO total SELECT coalesce(sum(size), 0), count(*), (SELECT count(*) FROM manifest) FROM blob;

  -- Blobs that no held manifest names and that are none themselves: since when (ms), or 0 when they may go at once.
  CREATE TABLE orphan (digest TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX orphan_since ON orphan (since);
  INSERT INTO orphan SELECT digest, stored_at FROM blob
    WHERE NOT EXISTS (SELECT 1 FROM named WHERE named.digest = blob.digest)
      AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = blob.digest);

  CREATE TRIGGER blob_added AFTER INSERT ON blob BEGIN
    UPDATE total SET bytes = bytes + NEW.size, blobs = blobs + 1;
    INSERT INTO orphan SELECT NEW.digest, NEW.stored_at
      WHERE NOT EXISTS (SELECT 1 FROM named WHERE named.digest = NEW.digest)
        AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = NEW.digest);
  END;
  CREATE TRIGGER blob_resized AFTER UPDATE OF size ON blob BEGIN
    UPDATE total SET bytes = bytes + NEW.size - OLD.size;
  END;
  CREATE TRIGGER blob_removed AFTER DELETE ON blob BEGIN
    UPDATE total SET bytes = bytes - OLD.size, blobs = blobs - 1;
    DELETE FROM orphan WHERE digest = OLD.digest;
  END;
  CREATE TRIGGER manifest_added AFTER INSERT ON manifest BEGIN
    UPDATE total SET manifests = manifests + 1;
    DELETE FROM orphan WHERE digest = NEW.digest;
  END;
  CREATE TRIGGER manifest_removed AFTER DELETE ON manifest BEGIN
    UPDATE total SET manifests = manifests - 1;
    INSERT INTO orphan SELECT digest, unixepoch() * 1000 FROM blob WHERE digest = OLD.digest
      AND NOT EXISTS (SELECT 1 FROM named WHERE named.digest = OLD.digest);
  END;
  CREATE TRIGGER named_added AFTER INSERT ON named BEGIN
    DELETE FROM orphan WHERE digest = NEW.digest;
  END;
  CREATE TRIGGER named_removed AFTER DELETE ON named BEGIN
    INSERT INTO orphan SELECT digest, unixepoch() * 1000 FROM blob WHERE digest = OLD.digest
      AND NOT EXISTS (SELECT 1 FROM named WHERE named.digest = OLD.digest)
      AND NOT EXISTS (SELECT 1 FROM manifest WHERE manifest.digest = OLD.digest);
  END;
`;

/** How far the scrub has come. */
const scrub = `
  -- How far the scrub has come through the blobs, in the order of their digests, and when it began with the first.
  CREATE TABLE scrub (
    reached TEXT NOT NULL,
    began_at INTEGER NOT NULL
  );
`;

/** What rules of images have to remember. */
const policies = `
  -- What an immutable tag meant first: that is what it means for ever, whatever is still held of it.
  CREATE TABLE immutable_tag (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, tag)
  ) WITHOUT ROWID;

  -- When a digest was first seen in a repository, by a tag or, with an empty one, by itself. Outlives the content.
  CREATE TABLE sighting (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    tag TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, digest, tag)
  ) WITHOUT ROWID;

  -- What a policy, named by its hash, says of a manifest in a repository: until when (ms), or for good.
  CREATE TABLE verdict (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    policy TEXT NOT NULL,
    reason TEXT,
    why TEXT,
    until INTEGER,
    PRIMARY KEY (upstream, repository, digest, policy)
  ) WITHOUT ROWID;
`;

/** Orders to fetch ahead, and the pins of those who give them. */
const warming = `
  -- Pins of those who replace all of theirs at once.
  CREATE TABLE pin_owned (
    owner TEXT NOT NULL,
    pattern TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (owner, pattern)
  ) WITHOUT ROWID;

  -- Orders to fetch images ahead, those that have ended too.
  CREATE TABLE warm_job (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
`;

/** The age and the size of what upstreams have only said. */
const expiry = `
  -- What upstreams have only said is let go of by age: tags that nothing can be served for, and lists, whose bytes are summed.
  CREATE INDEX tag_unheld ON tag (checked_at) WHERE last_held IS NULL;
  CREATE INDEX tag_last_held ON tag (upstream, repository, last_held) WHERE last_held IS NOT NULL;
  CREATE INDEX listing_checked ON listing (checked_at);
  ALTER TABLE total ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
  UPDATE total SET listed = (SELECT coalesce(sum(octet_length(body)), 0) FROM listing);
  CREATE TRIGGER listing_added AFTER INSERT ON listing BEGIN
    UPDATE total SET listed = listed + octet_length(NEW.body);
  END;
  CREATE TRIGGER listing_changed AFTER UPDATE OF body ON listing BEGIN
    UPDATE total SET listed = listed + octet_length(NEW.body) - octet_length(OLD.body);
  END;
  CREATE TRIGGER listing_removed AFTER DELETE ON listing BEGIN
    UPDATE total SET listed = listed - octet_length(OLD.body);
  END;
`;

/** What upstreams show to everybody. */
const visibility = `
  -- Whether anonymous clients see a repository at its upstream, as it was when it was checked last (ms).
  CREATE TABLE visibility (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    public INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository)
  ) WITHOUT ROWID;
`;

/** What cannot be rebuilt lies in a file of its own by now (takeover.ts). */
const parted = `
  DROP TABLE IF EXISTS immutable_tag;
  DROP TABLE IF EXISTS sighting;
  DROP TABLE IF EXISTS pin;
  DROP TABLE IF EXISTS pin_owned;
  DROP TABLE IF EXISTS warm_job;
  DROP TABLE IF EXISTS visibility;
  DROP TABLE IF EXISTS quota_entry;
  DROP TABLE IF EXISTS quota_hour;
  DROP TABLE IF EXISTS quota_standing;
  DROP TABLE IF EXISTS quota_version;
`;

/** The catalog's file while it held everything. */
export const oldCatalogSchema: Schema = {
  steps: [content, use, scrub, policies, warming, expiry, visibility],
  finish: migrateLedger,
};

/** The catalog's file. Steps are only ever added, and never changed. */
export const catalogSchema: Schema = { steps: [...oldCatalogSchema.steps, parted] };
