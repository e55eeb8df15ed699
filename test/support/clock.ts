/** A clock of Hubcap's that a test moves ahead, so that no test waits for time to pass. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { vi } from "vitest";
import type { Hubcap } from "./hubcap.ts";
import { patience } from "./patience.ts";

/** What is loaded into Hubcap: the wall clock alone moves, or the one that otherwise never jumps, too. */
const preloads = { wall: "movableClock.ts", both: "fleetClock.ts" } as const;

export class MovableClock {
  readonly #folder: string;
  readonly #preload: string;
  #ahead = 0;

  private constructor(folder: string, preload: string) {
    this.#folder = folder;
    this.#preload = preload;
  }

  static async make(moves: keyof typeof preloads): Promise<MovableClock> {
    const folder = await mkdtemp(join(tmpdir(), "hubcap-clock-"));
    return new MovableClock(folder, fileURLToPath(new URL(preloads[moves], import.meta.url)));
  }

  /** What a Hubcap has to be started with. */
  get start(): { readonly env: { readonly MOVABLE_CLOCK: string }; readonly nodeArgs: readonly string[] } {
    return { env: { MOVABLE_CLOCK: join(this.#folder, "clock") }, nodeArgs: ["--import", this.#preload] };
  }

  /** Moves the clock of `hubcap` ahead; its timers stay as they are. */
  async advance(hubcap: Hubcap, ms: number): Promise<void> {
    this.#ahead += ms;
    await writeFile(join(this.#folder, "clock"), String(this.#ahead));
    process.kill(hubcap.pid, "SIGUSR2");
    const said = `the clock is ${this.#ahead} ms ahead`;
    await vi.waitUntil(() => hubcap.errors.includes(said), { ...patience, interval: 10 });
  }

  /** Goes by the system's time again, as a Hubcap does that was started again. */
  reset(): void {
    this.#ahead = 0;
  }

  async dispose(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}
