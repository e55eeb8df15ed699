/** A child process whose output is kept line by line. */
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { canary, formsOf } from "./canary.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** As `npm start` and the image have it: without, every start strips the types of all files again. */
const compileCache = fileURLToPath(new URL("../../node_modules/.cache/hubcap", import.meta.url));

const secretForms = formsOf(canary);

/** Fails the run, whatever the test at hand is about, when a text holds the secret that tests use. */
export function refuseSecrets(text: string): void {
  if (secretForms.some((form) => text.includes(form))) throw new Error("a secret was written to the output");
}

/** A program of ours that runs under the Node that runs the tests. */
export class Child {
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  #errors = "";
  #waiting: { readonly fits: (line: string) => boolean; readonly resolve: (line: string) => void }[] = [];
  /** Lines of standard output. */
  readonly lines: string[] = [];
  /** Resolves when it has ended and all output is read. */
  readonly exit: Promise<Exit>;

  constructor(args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#process = spawn(process.execPath, args, {
      env: { NODE_COMPILE_CACHE: compileCache, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    createInterface({ input: this.#process.stdout }).on("line", (line) => this.#read(line));
    this.#process.stderr.on("data", (piece: Buffer) => {
      this.#errors += piece.toString();
      refuseSecrets(piece.toString());
    });
    this.exit = new Promise((resolve, reject) => {
      this.#process.once("error", reject);
      this.#process.once("close", (code, signal) => resolve({ code, signal }));
    });
    // A test file that ends early must not leave it behind.
    const killed = (): void => this.kill("SIGKILL");
    process.once("exit", killed);
    this.#process.once("close", () => process.off("exit", killed));
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get running(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Everything on standard error. */
  get errors(): string {
    return this.#errors;
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** The first line of standard output that fits, past or future. Rejects when the process ends without one. */
  async line(fits: (line: string) => boolean): Promise<string> {
    const past = this.lines.find(fits);
    if (past !== undefined) {
      return past;
    }
    const future = new Promise<string>((resolve) => {
      this.#waiting.push({ fits, resolve });
    });
    const ended = this.exit.then(({ code, signal }) => {
      throw new Error(`the process ended with ${signal ?? code} before it said so:\n${this.#errors}`);
    });
    return Promise.race([future, ended]);
  }

  #read(line: string): void {
    refuseSecrets(line);
    this.lines.push(line);
    for (const waiter of this.#waiting.filter(({ fits }) => fits(line))) {
      waiter.resolve(line);
    }
    this.#waiting = this.#waiting.filter(({ fits }) => !fits(line));
  }
}
