import { systemClock } from "../../../../src/async/clock.ts";
import { mkdir, mkdtemp, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { ociManifest } from "../../../../src/oci/descriptor.ts";
import { digestOf, hexOf, type Digest } from "../../../../src/oci/digest.ts";
import { DiskBlobs } from "../../../../src/store/disk/blobs.ts";
import { SqliteCatalog } from "../../../../src/store/sqlite/catalog.ts";
import { Reconciler } from "../../../../src/store/repair/reconcile.ts";
import { openDatabase, SqliteFile } from "../../../../src/store/sqlite/database.ts";
import { disk, type Files } from "../../../../src/store/disk/files.ts";
import { Fills } from "../../../../src/store/fill/fills.ts";
import { catalogSchema } from "../../../../src/store/sqlite/schema.ts";

const layer = Buffer.from("a layer");
const config = Buffer.from("{}");
const describeBytes = (bytes: Buffer) => ({
  mediaType: "application/octet-stream",
  digest: digestOf(bytes),
  size: bytes.length,
});
const manifest = Buffer.from(
  JSON.stringify({ schemaVersion: 2, config: describeBytes(config), layers: [describeBytes(layer)] }),
);

let root: string;
let blobs: DiskBlobs;
let catalog: SqliteCatalog;
let condemned: string[];
let reconciler: Reconciler;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "hubcap-reconciler-"));
  blobs = await DiskBlobs.at(root);
  catalog = new SqliteCatalog(new SqliteFile(openDatabase(":memory:", catalogSchema)));
  const condemnations: string[] = [];
  condemned = condemnations;
  reconciler = new Reconciler({
    blobs,
    catalog,
    condemned: (digest, flaw) => condemnations.push(`${flaw} ${digest}`),
  });
});

/** Puts a file under a blob's name, with no one's knowledge. */
async function lay(digest: Digest, bytes: Buffer): Promise<void> {
  const hex = hexOf(digest);
  const path = join(root, "blobs", "sha256", hex.slice(0, 2), hex);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

const running = new AbortController().signal;

describe("reconciler", () => {
  it("gives every blob that has none a row, and takes a manifest for what it is", async () => {
    for (const bytes of [layer, config, manifest]) await lay(digestOf(bytes), bytes);
    expect(await reconciler.adoptAll(running)).toBe(3);
    expect(await reconciler.adoptAll(running)).toBe(0);
    expect(await catalog.blobAnywhere(digestOf(layer))).toBe(layer.length);
    expect(await catalog.manifestAnywhere(digestOf(config))).toBeUndefined();
    expect(await catalog.manifestAnywhere(digestOf(manifest))).toEqual({
      digest: digestOf(manifest),
      mediaType: ociManifest,
      size: manifest.length,
    });
  });

  it("adopts no bytes that are not what their name says, however many there are", async () => {
    await lay(digestOf(layer), Buffer.alloc(0));
    await lay(digestOf(config), Buffer.from("[]"));
    expect(await reconciler.adoptAll(running)).toBe(0);
    expect(condemned.toSorted()).toEqual(
      [`bytes ${digestOf(layer)}`, `bytes ${digestOf(config)}`].toSorted(),
    );
    expect(await readdir(join(root, "quarantine"))).toHaveLength(2);
    expect(await catalog.blobAnywhere(digestOf(layer))).toBeUndefined();
  });

  it("reads a blob once for all who want it adopted", async () => {
    await lay(digestOf(layer), layer);
    const [first, second] = [reconciler.adopt(digestOf(layer)), reconciler.adopt(digestOf(layer))];
    expect(first).toBe(second);
    expect(await first).toBe(layer.length);
    expect(await reconciler.adopt(digestOf(Buffer.from("not here")))).toBeUndefined();
  });

  it("removes what was let go of, but not what is wanted again (R17)", async () => {
    await lay(digestOf(layer), layer);
    const adopting = reconciler.adopt(digestOf(layer));
    expect(await reconciler.remove(digestOf(layer))).toBe(false);
    expect(await adopting).toBe(layer.length);
    await catalog.forget(digestOf(layer));
    const removing = reconciler.remove(digestOf(layer));
    expect(await reconciler.adopt(digestOf(layer))).toBeUndefined();
    expect(await removing).toBe(true);
    expect(await catalog.blobAnywhere(digestOf(layer))).toBeUndefined();
  });

  it("removes nothing while somebody gives it its name and its row, nor the other way round (R17)", async () => {
    const digest = digestOf(manifest);
    const named = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const coming = reconciler.keep(digest, async () => {
      await blobs.put(digest, manifest);
      named.resolve();
      await asked.promise;
      // As long as a removal that did not wait for its turn would take.
      await blobs.remove(digestOf(layer));
      await blobs.put(digestOf(config), config);
      await catalog.adopt(digest, manifest.length);
    });
    await named.promise;
    const removing = reconciler.remove(digest);
    asked.resolve();
    await coming;
    expect(await removing).toBe(false);
    expect(await blobs.read(digest, manifest.length)).toEqual(manifest);
    await expect(reconciler.keep(digest, () => Promise.reject(new Error("full")))).rejects.toThrow("full");
    expect(await reconciler.remove(digest)).toBe(false);
  });

  it("gives a fill its turn like everybody else", async () => {
    const digest = digestOf(layer);
    const seen: (number | undefined)[] = [];
    const fills = new Fills(systemClock, (of, work) =>
      reconciler.keep(of, async () => {
        seen.push(await blobs.size(of));
        await work();
        seen.push(await blobs.size(of), await catalog.blobAnywhere(of));
      }),
    );
    const body = (async function* body() {
      yield layer;
    })();
    const source = { offset: 0, size: layer.length, body, cancel: () => {} };
    const fill = fills.begin(digest, await blobs.ingest(digest), source, {
      resume: () => Promise.reject(new Error("nothing more is needed")),
      hold: (size) => catalog.adopt(digest, size),
    });
    await fill.settled;
    expect(seen).toEqual([undefined, layer.length, layer.length]);
  });

  it("does not condemn what was fetched again since its flaw was found", async () => {
    const digest = digestOf(layer);
    await lay(digest, Buffer.from("a LAYER"));
    await catalog.adopt(digest, layer.length);
    expect(await reconciler.examine(digest, layer.length)).toBe("bytes");
    const again = reconciler.keep(digest, () => blobs.put(digest, layer));
    await reconciler.condemn(digest);
    await again;
    expect(condemned).toEqual([]);
    expect(await catalog.blobAnywhere(digest)).toBe(layer.length);
    await lay(digest, Buffer.from("a LAYER"));
    await reconciler.condemn(digest);
    expect(condemned).toEqual([`bytes ${digest}`]);
  });

  it("stops when it is asked to, also in the middle of a blob", async () => {
    await lay(digestOf(layer), layer);
    const stop = new AbortController();
    const adopting = reconciler.adoptAll(stop.signal);
    stop.abort();
    await adopting.catch(() => {});
    expect(await catalog.blobAnywhere(digestOf(layer))).toBeUndefined();
  });

  it("condemns what cannot be opened only if it is still not what the row says", async () => {
    await blobs.put(digestOf(layer), layer);
    await catalog.adopt(digestOf(layer), layer.length);
    await reconciler.recheck(digestOf(layer), layer.length);
    expect(await catalog.blobAnywhere(digestOf(layer))).toBe(layer.length);
    await lay(digestOf(layer), Buffer.from("short"));
    await reconciler.recheck(digestOf(layer), layer.length);
    expect(condemned).toEqual([`size ${digestOf(layer)}`]);
    expect(await catalog.blobAnywhere(digestOf(layer))).toBeUndefined();
  });

  it("leaves a flawed blob where it is when the disk takes no change, and the pull goes on", async () => {
    const digest = digestOf(layer);
    await lay(digest, Buffer.from("short"));
    await catalog.adopt(digest, layer.length);
    const files: Files = {
      ...disk,
      rename: () => Promise.reject(Object.assign(new Error("read-only"), { code: "EROFS" })),
    };
    const noted: unknown[] = [];
    const readOnly = await DiskBlobs.at(root, files);
    const isStoreTrouble = (error: unknown): boolean => noted.push(error) > 0;
    await new Reconciler({ blobs: readOnly, catalog, isStoreTrouble }).recheck(digest, layer.length);
    expect(noted).toMatchObject([{ code: "EROFS" }]);
    await expect(new Reconciler({ blobs: readOnly, catalog }).recheck(digest, layer.length)).rejects.toThrow(
      "read-only",
    );
  });

  it.each(["EIO", "EUCLEAN", "EACCES"])(
    "takes %s while a blob is read for a blob that is unreadable",
    async (code) => {
      await blobs.put(digestOf(layer), layer);
      const whole = blobs.open.bind(blobs);
      blobs.open = async (digest, size) => {
        const content = await whole(digest, size);
        await content?.close();
        return { size, pieces: () => refuse(code), close: async () => {} };
      };
      expect(await reconciler.examine(digestOf(layer), layer.length)).toBe("unreadable");
    },
  );
});

// eslint-disable-next-line require-yield -- it fails before it has anything to give
async function* refuse(code: string): AsyncGenerator<Buffer> {
  throw Object.assign(new Error(code), { code });
}
