/** What the processes of a server have used, as Linux counts it. */
import { readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";

/** USER_HZ, in which /proc tells times; 100 on every architecture that Node runs on. */
const ticksPerSecond = 100;

/** TCP_LISTEN of the kernel's tcp_states.h. */
const listening = "0A";

/** The processes that listen at a URL of this machine: all workers of a server that has some. */
export function processesAt(url: string): number[] {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, "0");
  const sockets = new Set<string>();
  for (const line of readFileSync("/proc/net/tcp", "latin1").split("\n")) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (local?.endsWith(`:${port}`) && state === listening) sockets.add(`socket:[${inode}]`);
  }
  const found = readdirSync("/proc").filter(
    (name) => /^\d+$/.test(name) && filesOf(name).some((file) => sockets.has(file)),
  );
  if (found.length === 0) throw new Error(`no process of this user listens at ${url}`);
  return found.map(Number);
}

function filesOf(process: string): string[] {
  const folder = `/proc/${process}/fd`;
  // It may have ended or be another user's; or it has closed a file meanwhile, and has the others still.
  const files = unlessGone(() => readdirSync(folder)) ?? [];
  return files.flatMap((file) => unlessGone(() => readlinkSync(`${folder}/${file}`)) ?? []);
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** User and system time of processes so far, in seconds. */
export function cpuSeconds(processes: readonly number[]): number {
  let ticks = 0;
  for (const process of processes) {
    const stat = readFileSync(`/proc/${process}/stat`, "latin1");
    // The second field, a name in parentheses, may itself hold spaces. utime and stime are the 14th and 15th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / ticksPerSecond;
}

/** Resident memory in bytes: now, and at most since {@link forgetPeak}. */
export function residentBytes(processes: readonly number[]): { readonly now: number; readonly peak: number } {
  const sum = { now: 0, peak: 0 };
  for (const process of processes) {
    const status = readFileSync(`/proc/${process}/status`, "latin1");
    sum.now += kibibytes(status, "VmRSS") * 1024;
    sum.peak += kibibytes(status, "VmHWM") * 1024;
  }
  return sum;
}

function kibibytes(status: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(?<kib>\\d+) kB$`, "m").exec(status)?.groups?.["kib"]);
}

/** Sets the peak of resident memory back to what it is now (proc_pid_clear_refs(5), value 5). */
export function forgetPeak(processes: readonly number[]): void {
  for (const process of processes) writeFileSync(`/proc/${process}/clear_refs`, "5");
}
