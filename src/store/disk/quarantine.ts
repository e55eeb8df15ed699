/** What was taken out of service lies here for people to look at, and not for ever. */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";

/** For how long, in ms. */
export const quarantinedForMs = 30 * 24 * 60 * 60_000;

/** And what share of the capacity at most. */
export const quarantineShare = 0.05;

/** Removes from `folder` what has lain there for too long at `now`, and the oldest of what is more than `bytes`. */
export async function sweepQuarantine(folder: string, bytes: number, now: number): Promise<void> {
  const found = await Promise.all((await readdir(folder)).map((name) => look(join(folder, name))));
  let kept = 0;
  for (const { path, size, since } of found.flat().toSorted((one, other) => other.since - one.since)) {
    kept += size;
    if (kept > bytes || Math.abs(now - since) > quarantinedForMs)
      await rm(path, { recursive: true, force: true });
  }
}

async function look(path: string): Promise<{ path: string; size: number; since: number }[]> {
  try {
    // A file keeps the time at which it was written when it is moved, but not the one at which it was changed at all.
    const { size, ctimeMs } = await stat(path);
    return [{ path, size, since: ctimeMs }];
  } catch {
    // It is gone, or cannot be looked at: there is nothing to be done about it.
    return [];
  }
}
