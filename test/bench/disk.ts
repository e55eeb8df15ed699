/** The disk between rounds. */
import { run } from "../support/clients/process.ts";

/** Resolves when everything that was written is on disk, so that no round pays for the one before it. */
export async function settleDisk(): Promise<void> {
  await run("sync", [], process.env);
}
