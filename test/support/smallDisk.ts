/** Small disks, for tests of what happens when they are full. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "vitest";
import { missing } from "./missing.ts";

/** A disk in memory. */
export class SmallDisk {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Mounts a disk of `size`, in the words of mount(8). Throws where that is not allowed. */
  static mount(size: string): SmallDisk {
    const folder = mkdtempSync(join(tmpdir(), "hubcap-disk-"));
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder], { stdio: "pipe" });
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
    return new SmallDisk(folder);
  }

  /** Takes it away, also from under a process that has a file on it open. */
  unmount(): void {
    execFileSync("umount", ["--lazy", this.folder]);
    rmSync(this.folder, { recursive: true });
  }
}

/** Tests on disks of `size`, if they can be mounted: `mount` gives a new one. */
export function withSmallDisk(size: string, tests: (mount: () => SmallDisk) => void): void {
  const reason = whyNot();
  describe(`a disk of ${size}`, () => {
    if (reason === undefined) tests(() => SmallDisk.mount(size));
    else missing(reason);
  });
}

/** Why no disk can be mounted here; undefined when one can. */
function whyNot(): string | undefined {
  try {
    SmallDisk.mount("4k").unmount();
    return undefined;
  } catch (error) {
    return `mounting a disk needs root: ${error instanceof Error ? error.message.trim() : String(error)}`;
  }
}
