/** What every implementation of Blobs must do. */
import { expect, it } from "vitest";
import { digestOf, type Digest } from "../../src/oci/digest.ts";
import type { Span } from "../../src/oci/range.ts";
import type { Blobs } from "../../src/store/blobs.ts";
import type { Content } from "../../src/store/fill/content.ts";
import { IntegrityError } from "../../src/store/error.ts";
import { bytesOf } from "../support/pieces.ts";

const bytes = Buffer.from("hello, blobs");
const digest = digestOf(bytes);
const other = digestOf(Buffer.from("something else"));

async function textOf(content: Content | undefined, span?: Span): Promise<string> {
  return (await bytesOf(content, span)).toString();
}

async function digests(blobs: Blobs): Promise<Digest[]> {
  return (await Array.fromAsync(blobs.list())).map((blob) => blob.digest);
}

/** Runs the contract; `make` gives an empty Blobs each time. */
export function blobsContract(make: () => Promise<Blobs>): void {
  it("gives back what was put, whole and in part", async () => {
    const blobs = await make();
    await blobs.put(digest, bytes);
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
    const whole = await blobs.open(digest, bytes.length);
    expect(whole?.size).toBe(bytes.length);
    expect(await textOf(whole)).toBe("hello, blobs");
    const part = await blobs.open(digest, bytes.length);
    expect(await textOf(part, { start: 7, end: 10 })).toBe("blo");
  });

  it("knows nothing of what was not put", async () => {
    const blobs = await make();
    expect(await blobs.open(digest, bytes.length)).toBeUndefined();
    expect(await blobs.read(digest, bytes.length)).toBeUndefined();
    expect(await blobs.remove(digest)).toBe(false);
    expect(await digests(blobs)).toEqual([]);
  });

  it("treats a blob of another size than expected as absent", async () => {
    const blobs = await make();
    await blobs.put(digest, bytes);
    expect(await blobs.open(digest, bytes.length + 1)).toBeUndefined();
    expect(await blobs.read(digest, 0)).toBeUndefined();
  });

  it("tells how many bytes lie under a name", async () => {
    const blobs = await make();
    expect(await blobs.size(digest)).toBeUndefined();
    await blobs.put(digest, bytes);
    expect(await blobs.size(digest)).toBe(bytes.length);
  });

  it("takes a blob out of service, once", async () => {
    const blobs = await make();
    await blobs.put(digest, bytes);
    expect(await blobs.quarantine(digest)).toBe(true);
    expect(await blobs.quarantine(digest)).toBe(false);
    expect(await digests(blobs)).toEqual([]);
    await blobs.put(digest, bytes);
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
    expect(await blobs.quarantine(digest)).toBe(true);
  });

  it("begins an ingest with nothing, unless a crash has left something of the blob", async () => {
    const blobs = await make();
    expect(blobs.kept(digest)).toBe(0);
    expect(blobs.keptInAll()).toBe(0);
    const ingest = await blobs.ingest(digest);
    expect(ingest.kept).toBe(0);
    await ingest.close();
  });

  it("refuses bytes under a name that is not theirs, and keeps nothing of them", async () => {
    const blobs = await make();
    await expect(blobs.put(other, bytes)).rejects.toBeInstanceOf(IntegrityError);
    expect(await digests(blobs)).toEqual([]);
  });

  it("shows an ingest to its readers at once, and to others only when it is committed", async () => {
    const blobs = await make();
    const ingest = await blobs.ingest(digest);
    await ingest.write(bytes.subarray(0, 5));
    const buffer = Buffer.alloc(5);
    expect(await ingest.read(buffer, 5, 0)).toBe(5);
    expect(buffer.toString()).toBe("hello");
    expect(await blobs.open(digest, bytes.length)).toBeUndefined();
    await ingest.write(bytes.subarray(5));
    ingest.verify();
    await ingest.commit();
    expect(await ingest.read(buffer, 5, 7)).toBe(5);
    await ingest.close();
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
  });

  it("keeps nothing of an ingest that was closed before it was committed", async () => {
    const blobs = await make();
    const ingest = await blobs.ingest(digest);
    await ingest.write(bytes);
    await ingest.close();
    expect(await digests(blobs)).toEqual([]);
    expect(await blobs.read(digest, bytes.length)).toBeUndefined();
  });

  it("lets those who read a blob finish after it was removed", async () => {
    const blobs = await make();
    await blobs.put(digest, bytes);
    const content = await blobs.open(digest, bytes.length);
    expect(await blobs.remove(digest)).toBe(true);
    expect(await textOf(content)).toBe("hello, blobs");
    expect(await digests(blobs)).toEqual([]);
  });

  it("holds sha256 and sha512 side by side", async () => {
    const blobs = await make();
    const long = digestOf(bytes, "sha512");
    await blobs.put(digest, bytes);
    await blobs.put(long, bytes);
    expect((await digests(blobs)).toSorted()).toEqual([digest, long].toSorted());
  });
}
