/** Folders: those that are made, those that are there, and those that cannot be. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { makeFolder } from "../../../src/store/folder.ts";

function place(): string {
  const path = mkdtempSync(join(tmpdir(), "hubcap-folder-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test("makes a folder with those above it, and is content with one that is there", () => {
  const path = join(place(), "a/b/c");
  makeFolder(path);
  makeFolder(path);
  expect(statSync(path).isDirectory()).toBe(true);
});

test("gives up where a file is in the way, and where the system knows no new names", () => {
  const file = join(place(), "file");
  writeFileSync(file, "");
  expect(() => makeFolder(file)).toThrow("EEXIST");
  expect(() => makeFolder(join(file, "below"))).toThrow("ENOTDIR");
  expect(() => makeFolder("/proc/hubcap/storage")).toThrow("ENOENT");
});
