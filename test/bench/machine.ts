/** The machine: which core the servers get, which cores everything else, and what it is called in a report. */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { runProgram } from "./programs.ts";

/** Lists of cores as taskset takes them. */
export interface Cores {
  readonly server: string;
  readonly load: string;
}

/** One core for the servers and the rest for the load, or undefined where there is only one. */
function cores(): Cores | undefined {
  const allowed = /^Cpus_allowed_list:\s+(?<list>\S+)$/m.exec(readFileSync("/proc/self/status", "utf8"));
  const numbers = (allowed?.groups?.["list"] ?? "").split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  const server = numbers.pop();
  return server === undefined || numbers.length === 0
    ? undefined
    : { server: String(server), load: numbers.join(",") };
}

/** Where this process and what it starts may run. */
export class Machine {
  readonly cores = cores();
  readonly processor = cpus()[0]?.model ?? "unknown";
  readonly coreCount = cpus().length;
  /** How the kernel decides when a connection may send; BBR's timers are dear in a virtual machine. */
  readonly congestionControl = readFileSync("/proc/sys/net/ipv4/tcp_congestion_control", "latin1").trim();

  /** Moves this process, and what it starts from now on, to the cores of the load. */
  async bearLoad(): Promise<void> {
    if (this.cores) await runProgram("taskset", "-apc", this.cores.load, String(process.pid));
  }

  /**
   * Runs `start`, whose child processes get the servers' core. They inherit it from this process's main thread: programs
   * that are moved only once they run have counted the cores by then and start too many threads.
   */
  async onServerCore<T>(start: () => Promise<T>): Promise<T> {
    return this.cores ? this.#on(this.cores.server, this.cores.load, start) : start();
  }

  /** Runs `start`, whose child processes get the servers' core and one of the others. */
  async onTwoCores<T>(start: () => Promise<T>): Promise<T> {
    const { cores } = this;
    return cores ? this.#on(`${cores.server},${cores.load.split(",")[0]}`, cores.load, start) : start();
  }

  async #on<T>(theirs: string, load: string, start: () => Promise<T>): Promise<T> {
    const own = String(process.pid);
    await runProgram("taskset", "-pc", theirs, own);
    try {
      return await start();
    } finally {
      await runProgram("taskset", "-pc", load, own);
    }
  }
}
