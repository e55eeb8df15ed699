/** Hubcap in the process of the test: what a child process does, without the time that starting one takes. */
import { setTimeout as pause } from "node:timers/promises";
import { vi } from "vitest";
import { readConfiguration } from "../../src/cli/input.ts";
import { serve } from "../../src/serve/serve.ts";
import { refuseSecrets, type Exit } from "./child.ts";
import { patience } from "./patience.ts";

export class InProcess {
  readonly pid = process.pid;
  /** Lines of the log. */
  readonly lines: string[] = [];
  /** Why it ended, if it failed. */
  errors = "";
  running = true;
  readonly exit: Promise<Exit>;
  readonly #stop = new AbortController();

  constructor(configuration: string) {
    const { signal } = this.#stop;
    const requested = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    const write = (line: string): void => {
      refuseSecrets(line);
      this.lines.push(line.trimEnd());
    };
    this.exit = this.#run(() =>
      serve(readConfiguration(configuration), { shutdown: { signal, requested }, output: { write } }),
    );
  }

  /** Ends it, whatever the signal is. */
  kill(_signal: NodeJS.Signals): void {
    this.#stop.abort();
  }

  /** The first line of the log that fits, past or future. */
  async line(fits: (line: string) => boolean): Promise<string> {
    return vi.waitUntil(() => this.lines.find(fits), patience);
  }

  async #run(work: () => Promise<void>): Promise<Exit> {
    // Not before it is constructed.
    await pause(0);
    try {
      await work();
      return { code: 0, signal: null };
    } catch (error) {
      this.errors = String(error);
      return { code: 1, signal: null };
    } finally {
      this.running = false;
    }
  }
}
