/** Bytes by their digest. */
import type { Digest } from "../oci/digest.ts";
import type { Content } from "./fill/content.ts";

/** A blob that is being written, under a name of its own until it is committed. */
export interface Ingest {
  /** Bytes that are here before the first write: what an earlier process had fetched of a large blob. */
  readonly kept: number;
  /** Hashes the bytes that were kept. Called once, before the first write. */
  rehash(): Promise<void>;
  /** Set when what was read cannot be read again. */
  readonly isReadOnce?: true;
  /** Appends `chunk`, all of it, whose memory is the caller's again then. */
  write(chunk: Uint8Array): Promise<void>;
  /** The descriptor of the file with what was written, if there is one. */
  readonly descriptor?: number;
  /** Reads what was written, from `position` on, into `buffer`, at most `length` bytes; the number of bytes read. */
  read(buffer: Uint8Array, length: number, position: number): Promise<number>;
  /** Checks that the bytes are those of the digest. @throws IntegrityError */
  verify(): void;
  /** Makes the bytes a blob that survives a crash. Reading goes on until {@link close}. */
  commit(): Promise<void>;
  /** Closes the file, and removes it unless it was committed. */
  close(): Promise<void>;
}

/** Content by digest. It says nothing about who may have it: that is the catalog's to know. */
export interface Blobs {
  /** The blob, or undefined when it is absent or is not `size` bytes long. */
  open(digest: Digest, size: number): Promise<Content | undefined>;
  /** All bytes of a small blob, under the conditions of {@link open}, and only if they are what their name says. */
  read(digest: Digest, size: number): Promise<Buffer | undefined>;
  /** The size of the bytes under this name, whatever they are. */
  size(digest: Digest): Promise<number | undefined>;
  /** How many bytes of a blob its next {@link ingest} begins with. */
  kept(digest: Digest): number;
  /** How many bytes there are of such blobs in all. */
  keptInAll(): number;
  /** Starts a blob that will be committed later. */
  ingest(digest: Digest): Promise<Ingest>;
  /** Stores a small blob whole. @throws IntegrityError */
  put(digest: Digest, bytes: Uint8Array): Promise<void>;
  /** Removes a blob; those who read it finish. False when there was none. */
  remove(digest: Digest): Promise<boolean>;
  /** Takes a blob out of service and keeps its bytes for people to look at. False when there was none. */
  quarantine(digest: Digest): Promise<boolean>;
  /** Every blob, in no order. */
  list(): AsyncIterable<{ readonly digest: Digest; readonly size: number }>;
}

/** What lies among the blobs and is none. Paths are relative to the root. */
export interface StrayFiles {
  /** What was on its way in when a process ended, and is not worth keeping. */
  leftovers(): Promise<readonly string[]>;
  /** Files where only blobs belong. */
  strays(): AsyncIterable<string>;
  remove(path: string): Promise<void>;
  /** Moves a file to where people can look at it. */
  setAside(path: string): Promise<void>;
}
