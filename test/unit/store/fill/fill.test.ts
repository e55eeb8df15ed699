import { randomBytes } from "node:crypto";
import { readSync } from "node:fs";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../../../src/async/clock.ts";
import { digestOf, type Digest } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import { FillError, IntegrityError } from "../../../../src/store/error.ts";
import { heldBack, type Fill, type FillOptions, type FillSource } from "../../../../src/store/fill/fill.ts";
import { Fills } from "../../../../src/store/fill/fills.ts";
import type { Ingest } from "../../../../src/store/blobs.ts";
import { bytesOf } from "../../../support/pieces.ts";

const bytes = randomBytes(300_000);
const digest = digestOf(bytes);

/** On which a pause is over at once. */
const clock = { ...systemClock, sleep: async () => {} };

let root: string;
let blobs: DiskBlobs;
let fills: Fills;
let held: number[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-fill-"));
  blobs = await DiskBlobs.at(root);
  fills = new Fills(clock);
  held = [];
});

/** An upstream's answer that sends `chunks` and then ends, or throws when it comes to an error. */
function source(
  chunks: Iterable<Uint8Array | Error>,
  offset = 0,
  announced: number | "nothing" = bytes.length,
) {
  let cancelled = false;
  async function* body(): AsyncGenerator<Uint8Array> {
    for (const chunk of chunks) {
      if (Error.isError(chunk)) throw chunk;
      yield chunk;
    }
  }
  const size = announced === "nothing" ? undefined : announced;
  return { offset, size, body: body(), cancel: () => (cancelled = true), isCancelled: () => cancelled };
}

/** A body that sends what it is given, when it is given. */
function slow() {
  const stream = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 100 });
  const writer = stream.writable.getWriter();
  const from: FillSource = {
    offset: 0,
    size: bytes.length,
    body: stream.readable.values(),
    cancel: () => {},
  };
  return { from, send: (chunk: Uint8Array) => writer.write(chunk), end: () => writer.close() };
}

const gone: FillOptions["resume"] = () => Promise.reject(new Error("gone"));

async function begin(first: FillSource, resume = gone, name: Digest = digest): Promise<Fill> {
  return into(await blobs.ingest(name), first, resume, name);
}

function into(ingest: Ingest, first: FillSource, resume = gone, name: Digest = digest): Fill {
  const rows = held;
  return fills.begin(name, ingest, first, { resume, hold: async (size) => void rows.push(size) });
}

function read(fill: Fill, span?: { start: number; end: number }): Promise<Buffer> {
  return bytesOf(fill.open(), span);
}

describe("a fill", () => {
  it("gives every reader the whole blob, and the catalog its row", async () => {
    const fill = await begin(source([bytes.subarray(0, 1000), bytes.subarray(1000)]));
    const readers = await Promise.all(Array.from({ length: 20 }, () => read(fill)));
    for (const got of readers) expect(got.equals(bytes)).toBe(true);
    await fill.settled;
    expect(held).toEqual([bytes.length]);
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
    expect(fills.get(digest)).toBeUndefined();
  });

  it("gives a reader what has come so far, but never the last bytes before they are proven", async () => {
    const upstream = slow();
    const fill = await begin(upstream.from);
    let got = 0;
    const reading = (async () => {
      for await (const piece of fill.open()?.pieces() ?? []) got += piece.length;
    })();
    await upstream.send(bytes.subarray(0, bytes.length - 1));
    while (got < bytes.length - heldBack) await new Promise(setImmediate);
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    expect(got).toBe(bytes.length - heldBack);
    await upstream.send(bytes.subarray(bytes.length - 1));
    await upstream.end();
    await reading;
    expect(got).toBe(bytes.length);
  });

  it("hands those who read along what was just written, and writes together what comes while the disk is busy", async () => {
    const upstream = slow();
    const ingest = await blobs.ingest(digest);
    const write = ingest.write.bind(ingest);
    const writes: number[] = [];
    const disk = Promise.withResolvers<void>();
    ingest.write = async (chunk) => {
      writes.push(chunk.length);
      await disk.promise;
      await write(chunk);
    };
    ingest.read = () => Promise.reject(new Error("this was to come from memory"));
    const fill = into(ingest, upstream.from);
    const reading = read(fill);
    for (let at = 0; at < bytes.length; at += 1000) await upstream.send(bytes.subarray(at, at + 1000));
    disk.resolve();
    await upstream.end();
    expect((await reading).equals(bytes)).toBe(true);
    expect(writes.length).toBeLessThan(10);
  });

  it("gives its readers the first bytes before the disk has them", async () => {
    const upstream = slow();
    const ingest = await blobs.ingest(digest);
    const write = ingest.write.bind(ingest);
    const disk = Promise.withResolvers<void>();
    ingest.write = async (chunk) => {
      await disk.promise;
      await write(chunk);
    };
    const fill = into(ingest, upstream.from);
    const reading = read(fill);
    const first = fill.open()?.pieces()[Symbol.asyncIterator]();
    await upstream.send(bytes.subarray(0, 1000));
    expect(await first?.next()).toEqual({ done: false, value: bytes.subarray(0, 1000) });
    expect(fill.written).toBe(0);
    await first?.return?.();
    disk.resolve();
    await upstream.send(bytes.subarray(1000));
    await upstream.end();
    expect((await reading).equals(bytes)).toBe(true);
  });

  it("has what is written sent from its file, as far as that is taken, but never the last bytes before they are proven", async () => {
    const upstream = slow();
    const fill = await begin(upstream.from);
    const got = Buffer.alloc(bytes.length);
    let at = 0;
    let calls = 0;
    let bySendfile = 0;
    // As for a connection that takes a little at a time, and every third time nothing.
    const sendfile = async (file: number, start: number, end: number): Promise<number> => {
      expect(start).toBe(at);
      expect(end).toBeLessThanOrEqual(fill.written);
      calls += 1;
      if (calls % 3 === 0 || end <= start) return 0;
      const sent = readSync(file, got, start, Math.min(end - start, 10_000), start);
      at += sent;
      bySendfile += sent;
      return sent;
    };
    const reading = (async () => {
      for await (const piece of fill.open()?.pieces(undefined, undefined, sendfile) ?? []) {
        at += piece.copy(got, at);
      }
    })();
    await upstream.send(bytes.subarray(0, bytes.length - 1));
    while (at < bytes.length - heldBack) await new Promise(setImmediate);
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    expect(at).toBe(bytes.length - heldBack);
    await upstream.send(bytes.subarray(bytes.length - 1));
    await upstream.end();
    await reading;
    expect(got.equals(bytes)).toBe(true);
    expect(bySendfile).toBeGreaterThan(0);
  });

  it("asks again whether its file can be sent, when it had to be read for a while", async () => {
    const large = randomBytes(8 * 1024 * 1024);
    const fill = await begin(source([large], 0, large.length), undefined, digestOf(large));
    const late = fill.open();
    await fill.settled;
    const got = Buffer.alloc(large.length);
    let read = 0;
    let refused = 0;
    let at = 0;
    const sendfile = async (file: number, start: number, end: number): Promise<number> => {
      if (refused++ === 0) return 0;
      const sent = readSync(file, got, start, end - start, start);
      at = start + sent;
      return sent;
    };
    for await (const piece of late?.pieces(undefined, undefined, sendfile) ?? []) {
      piece.copy(got, at);
      at += piece.length;
      read += piece.length;
    }
    expect(got.equals(large)).toBe(true);
    expect(read).toBeLessThan(large.length / 2);
  });

  it("cuts readers who have had its first bytes when the disk then does not take them", async () => {
    const upstream = slow();
    const ingest = await blobs.ingest(digest);
    const disk = Promise.withResolvers<void>();
    ingest.write = () => disk.promise;
    const fill = into(ingest, upstream.from);
    const pieces = fill.open()?.pieces()[Symbol.asyncIterator]();
    await upstream.send(bytes.subarray(0, 1000));
    expect((await pieces?.next())?.value).toHaveLength(1000);
    const next = pieces?.next();
    disk.reject(new Error("ENOSPC"));
    await upstream.end();
    await expect(next).rejects.toMatchObject({ name: "FillError", kind: "disk" });
    await expect(fill.settled).rejects.toMatchObject({ name: "FillError", kind: "disk" });
  });

  it("tells at once that the disk does not take what has come, though nothing more comes", async () => {
    const upstream = slow();
    const ingest = await blobs.ingest(digest);
    ingest.write = () => Promise.reject(new Error("ENOSPC"));
    const cancelled = Promise.withResolvers<void>();
    const body = (async function* body(): AsyncGenerator<Uint8Array> {
      for await (const chunk of upstream.from.body) {
        yield chunk;
        await cancelled.promise;
        throw new Error("cancelled");
      }
    })();
    const first = { ...upstream.from, body, cancel: () => cancelled.resolve() };
    const fill = into(ingest, first);
    await upstream.send(bytes.subarray(0, 1000));
    await expect(fill.settled).rejects.toMatchObject({ name: "FillError", kind: "disk" });
  });

  it("serves a span of what is still on its way", async () => {
    const fill = await begin(source([bytes]));
    const got = await read(fill, { start: 100_000, end: 200_000 });
    expect(got.equals(bytes.subarray(100_000, 200_000))).toBe(true);
  });

  it("cuts every reader of wrong bytes short of the end, and keeps nothing (R10)", async () => {
    const wrong = Buffer.from(bytes);
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
    const fill = await begin(source([wrong]));
    let got = 0;
    const reading = (async () => {
      for await (const piece of fill.open()?.pieces() ?? []) got += piece.length;
    })();
    await expect(reading).rejects.toBeInstanceOf(IntegrityError);
    expect(got).toBeLessThanOrEqual(bytes.length - heldBack);
    await expect(fill.settled).rejects.toBeInstanceOf(IntegrityError);
    expect(held).toEqual([]);
    expect(await blobs.read(digest, bytes.length)).toBeUndefined();
    await expect.poll(() => readdir(join(root, "ingest"))).toEqual([]);
  });

  it("resumes where the upstream broke off (R8)", async () => {
    const offsets: number[] = [];
    const fill = await begin(source([bytes.subarray(0, 1000), new Error("reset")]), async (offset) => {
      offsets.push(offset);
      return source([bytes.subarray(offset)], offset);
    });
    expect((await read(fill)).equals(bytes)).toBe(true);
    expect(offsets).toEqual([1000]);
  });

  it("reads past what it has when the upstream begins again from the start (R7)", async () => {
    const fill = await begin(source([bytes.subarray(0, 1000)]), async () =>
      source([bytes.subarray(0, 700), bytes.subarray(700, 200_000), bytes.subarray(200_000)]),
    );
    expect((await read(fill)).equals(bytes)).toBe(true);
  });

  it("goes on for as long as each try brings something", async () => {
    let tries = 0;
    const fill = await begin(source([bytes.subarray(0, 10)]), async (offset) => {
      tries++;
      return source([bytes.subarray(offset, offset + 29_999)], offset);
    });
    expect((await read(fill)).equals(bytes)).toBe(true);
    expect(tries).toBe(10);
  });

  it("gives up after three tries in a row that brought nothing (R8)", async () => {
    let tries = 0;
    const fill = await begin(source([bytes.subarray(0, 10)]), () => {
      tries++;
      return Promise.reject(new Error("refused"));
    });
    await expect(read(fill)).rejects.toMatchObject({ name: "FillError", kind: "broken" });
    expect(tries).toBe(3);
  });

  it("gives up on an upstream that sends a byte and breaks off, twenty times, and keeps nothing of it", async () => {
    let tries = 1;
    const drip = (offset: number) => {
      tries += 1;
      return source([bytes.subarray(offset, offset + 1)], offset);
    };
    const fill = await begin(source([bytes.subarray(0, 1)]), async (offset) => drip(offset));
    const error = await fill.settled.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(FillError);
    expect(String(error)).toContain("the upstream broke off 20 times");
    expect(tries).toBe(20);
    expect(await readdir(join(root, "ingest"))).toEqual([]);
  });

  it("does not give up on one that sends at least 64 KiB after nineteen tries that brought less", async () => {
    let tries = 0;
    const step = (offset: number) => {
      tries += 1;
      const length = tries % 20 === 0 ? 64 * 1024 : 1;
      return source([bytes.subarray(offset, offset + length)], offset);
    };
    const fill = await begin(step(0), async (offset) => step(offset));
    await fill.settled;
    expect(tries).toBeGreaterThan(80);
    expect(held).toEqual([bytes.length]);
  });

  it("ends when there is no more space for it, without asking again, and cuts its readers", async () => {
    const asked: number[] = [];
    const makeSpace = async (first: number): Promise<void> => {
      asked.push(first);
      if (first > 200_000) throw new FillError("capacity", "no space");
    };
    const chunks = Array.from({ length: 30 }, (_, at) => bytes.subarray(at * 10_000, (at + 1) * 10_000));
    const fill = fills.begin(digest, await blobs.ingest(digest), source(chunks), {
      resume: () => Promise.reject(new Error("asked again")),
      hold: async (size) => void held.push(size),
      makeSpace,
    });
    await expect(read(fill)).rejects.toThrow("no space");
    await expect(fill.settled).rejects.toMatchObject({ kind: "capacity" });
    expect(asked.at(-1)).toBeGreaterThan(200_000);
    expect(fill.written).toBeLessThanOrEqual(200_000);
    expect(held).toEqual([]);
    expect(await readdir(join(root, "ingest"))).toEqual([]);
  });

  it("counts an answer from beyond what it has, or of another size, as nothing", async () => {
    const answers = [source([bytes], 5), source([bytes], 0, 17), source([bytes], 2, 17)];
    const fill = await begin(
      source([new Error("reset")]),
      async () => answers.shift() ?? source([], 0, "nothing"),
    );
    await expect(fill.settled).rejects.toBeInstanceOf(FillError);
    expect(answers.length).toBe(1);
  });

  it("refuses more bytes than the upstream announced", async () => {
    const fill = await begin(source([Buffer.concat([bytes, bytes])]));
    await expect(fill.settled).rejects.toBeInstanceOf(FillError);
  });

  it("proves a blob of unannounced size by its digest alone", async () => {
    const fill = await begin(source([bytes], 0, "nothing"));
    expect((await read(fill)).equals(bytes)).toBe(true);
    await fill.settled;
    expect(held).toEqual([bytes.length]);
  });

  it("resumes a blob of unannounced size, whose rest comes with its size (R8)", async () => {
    const first = source([bytes.subarray(0, 100_000), new Error("reset")], 0, "nothing");
    const fill = await begin(first, async (offset) => source([bytes.subarray(offset)], offset));
    expect((await read(fill)).equals(bytes)).toBe(true);
  });

  it("cuts a short blob of unannounced size (R11)", async () => {
    const fill = await begin(source([], 0, "nothing"));
    await expect(fill.settled).rejects.toBeInstanceOf(IntegrityError);
    expect(await blobs.read(digest, 0)).toBeUndefined();
  });

  it("goes on when its readers leave, whether they had begun or not", async () => {
    const upstream = slow();
    const fill = await begin(upstream.from);
    await upstream.send(bytes.subarray(0, 100_000));
    for await (const _piece of fill.open()?.pieces() ?? []) break;
    await fill.open()?.close();
    const left = new AbortController();
    const pieces = fill.open()?.pieces(undefined, left.signal)[Symbol.asyncIterator]();
    await pieces?.next();
    const waiting = pieces?.next();
    left.abort(new Error("left"));
    await expect(waiting).rejects.toThrow("left");
    await upstream.send(bytes.subarray(100_000));
    await upstream.end();
    await fill.settled;
    expect(await blobs.read(digest, bytes.length)).toEqual(bytes);
    expect(fill.open()).toBeUndefined();
  });

  it("keeps its file open for a reader that is slower than the commit", async () => {
    const fill = await begin(source([bytes]));
    const reading = fill.open();
    await fill.settled;
    expect((await bytesOf(reading)).equals(bytes)).toBe(true);
  });

  it("lets go of each answer that it has done with", async () => {
    const first = source([bytes.subarray(0, 10), new Error("reset")]);
    const second = source([bytes.subarray(10)], 10);
    const fill = await begin(first, async () => second);
    await fill.settled;
    expect([first.isCancelled(), second.isCancelled()]).toEqual([true, true]);
  });
});
