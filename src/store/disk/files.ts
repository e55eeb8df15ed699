/** The file operations that a blob's safety rests on, in one place: tests make each of them fail, or be the last one. */
import { constants } from "node:fs";
import { mkdir, open, rename, rm, statfs, type FileHandle } from "node:fs/promises";

/** A file that is being written. A write may take a part of what it is given, as write(2) may. */
export type OpenFile = Pick<FileHandle, "fd" | "read" | "write" | "sync" | "close">;

export interface Files {
  /** Creates a file that must not exist yet. */
  create(path: string): Promise<OpenFile>;
  /** Opens a file that exists, to read it and to write on. */
  reopen(path: string): Promise<OpenFile>;
  /** True when the folder was not there before. */
  makeFolder(path: string): Promise<boolean>;
  /** Moves a file in one step within a file system. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file. @throws ENOENT when there is none. */
  remove(path: string): Promise<void>;
  /** Makes the names in a folder survive a power cut. */
  syncFolder(path: string): Promise<void>;
  /** Bytes that may still be written to the file system that `path` is on. */
  free(path: string): Promise<number>;
}

/** The operating system's. */
export const disk: Files = {
  create: (path) => open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o644),
  reopen: (path) => open(path, constants.O_RDWR),
  makeFolder: async (path) => (await mkdir(path, { recursive: true })) !== undefined,
  rename,
  remove: (path) => rm(path),
  async syncFolder(path) {
    await using folder = await open(path);
    await folder.sync();
  },
  async free(path) {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  },
};
