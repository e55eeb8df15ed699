/** The tables of what cannot be rebuilt, the ledger's among them, as the steps that lead there. */
import type { Schema } from "./database.ts";
import { migrateLedger } from "./ledgerTables.ts";

const first = `
  -- What an immutable tag meant first: that is what it means for ever, whatever is still held of it.
  CREATE TABLE immutable_tag (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, tag)
  ) WITHOUT ROWID;

  -- When a digest was first seen in a repository, by a tag or, with an empty one, by itself.
  CREATE TABLE sighting (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    tag TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository, digest, tag)
  ) WITHOUT ROWID;

  -- Patterns of images that are never evicted, beside those of the configuration.
  CREATE TABLE pin (pattern TEXT PRIMARY KEY, pinned_at INTEGER NOT NULL) WITHOUT ROWID;

  -- Pins of owners that replace all of theirs at once.
  CREATE TABLE pin_owned (
    owner TEXT NOT NULL,
    pattern TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (owner, pattern)
  ) WITHOUT ROWID;

  -- Orders to fetch images ahead, those that have ended too.
  CREATE TABLE warm_job (id TEXT PRIMARY KEY, created_at INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;

  -- Whether anonymous clients see a repository at its upstream, as it was when it was checked last (ms).
  CREATE TABLE visibility (
    upstream TEXT NOT NULL,
    repository TEXT NOT NULL,
    public INTEGER NOT NULL,
    checked_at INTEGER NOT NULL,
    PRIMARY KEY (upstream, repository)
  ) WITHOUT ROWID;

  -- One row. parted: 1 once the catalog's file does not have these tables any more. unproven_since: when this file came from a
  -- backup, or was made anew in place of a lost one (ms), until that is confirmed.
  CREATE TABLE origin (parted INTEGER NOT NULL, unproven_since INTEGER);
  INSERT INTO origin VALUES (0, NULL);

  -- Buckets that were opened since, and when: by the ledger's clock, and by the wall clock.
  CREATE TABLE unproven_bucket (bucket TEXT PRIMARY KEY, time INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
`;

/** What is written for the names that clients ask for is let go of by age. */
const expiry = `
  CREATE INDEX immutable_tag_since ON immutable_tag (since);
  CREATE INDEX sighting_first ON sighting (first_at);
  CREATE INDEX visibility_checked ON visibility (checked_at);
`;

/** The state's file. Steps are only ever added, and never changed. */
export const stateSchema: Schema = { steps: [first, expiry], finish: migrateLedger };

/** The tables that the catalog's file had before there was this one. */
export const movedTables = [
  "immutable_tag",
  "sighting",
  "pin",
  "pin_owned",
  "warm_job",
  "visibility",
  "quota_entry",
  "quota_hour",
  "quota_standing",
] as const;
