/** Pins: patterns of images that are never evicted. They come from the configuration, from the API, or from what the cluster uses. */
import { parsePattern, type Pattern } from "../../oci/pattern.ts";
import type { PinOwner, PinTable } from "../state.ts";

/** A pin and where it comes from. */
export interface Pin {
  readonly pattern: Pattern;
  readonly origin: "configuration" | "api" | PinOwner;
}

export class Pins {
  readonly #table: PinTable;
  readonly #configured: readonly Pattern[];
  readonly #now: () => number;
  #added = new Map<string, Pattern>();
  /** Those of what the cluster uses. */
  #used: ReadonlyMap<string, Pattern> = new Map();
  /** Settles when the last change is written. Changes are made one after the other. */
  #changed: Promise<unknown> = Promise.resolve();

  constructor(table: PinTable, configured: readonly Pattern[], now: () => number) {
    this.#table = table;
    this.#configured = configured;
    this.#now = now;
  }

  /** Reads the pins of earlier processes. */
  async load(): Promise<void> {
    this.#added = byText(readAll(await this.#table.all()));
    this.#used = byText(readAll(await this.#table.owned("cluster")));
  }

  *patterns(): Iterable<Pattern> {
    yield* this.#configured;
    yield* this.#added.values();
    yield* this.#used.values();
  }

  list(): Pin[] {
    return [
      ...this.#configured.map((pattern): Pin => ({ pattern, origin: "configuration" })),
      ...[...this.#added.values()].map((pattern): Pin => ({ pattern, origin: "api" })),
      ...[...this.#used.values()].map((pattern): Pin => ({ pattern, origin: "cluster" })),
    ];
  }

  add(pattern: Pattern): Promise<void> {
    return this.#change(async () => {
      await this.#table.add(pattern.text, this.#now());
      this.#added.set(pattern.text, pattern);
    });
  }

  /** Puts these in the place of all pins that `owner` had; no other pin is touched. */
  replace(owner: PinOwner, patterns: readonly Pattern[]): Promise<void> {
    return this.#change(async () => {
      const unique = byText(patterns);
      await this.#table.replace(owner, [...unique.keys()], this.#now());
      this.#used = unique;
    });
  }

  /** False when there is no such pin, or only one of another origin. */
  remove(pattern: Pattern): Promise<boolean> {
    return this.#change(async () => {
      await this.#table.remove(pattern.text);
      return this.#added.delete(pattern.text);
    });
  }

  #change<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#changed.then(change);
    this.#changed = changed.catch(() => {});
    return changed;
  }
}

function readAll(texts: readonly string[]): Pattern[] {
  return texts.flatMap((text) => parsePattern(text) ?? []);
}

function byText(patterns: readonly Pattern[]): Map<string, Pattern> {
  return new Map(patterns.map((pattern) => [pattern.text, pattern]));
}
