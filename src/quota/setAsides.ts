/** Pulls that are set aside with the first one of an image, so that what was begun can be pulled whole. */
import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { ImagePart, QuotaRequest } from "./quota.ts";
import type { WindowRow } from "./windowRows.ts";

/** How long they are kept once what was begun has come, in ms: a client asks for the next manifest at once. */
const keptMs = 60_000;

/** Pulls of one image, as they are saved. */
export interface SavedSetAside {
  /** The repository's name and the digest of the manifest that the rest belongs to. */
  readonly image: string;
  readonly pulls: number;
  /** The manifests that have had one already: each has one, and what it spends in vain is not the others'. */
  readonly taken: readonly Digest[];
  /** Whose share of the limit they count in. */
  readonly payer: string;
  /** When they are given back, by the ledger's clock. */
  readonly until: number;
}

type Row = Pick<WindowRow, "sentAt" | "cost">;

interface SetAside extends Omit<SavedSetAside, "pulls" | "taken"> {
  until: number;
  readonly taken: Set<Digest>;
  /** One a pull, which stands for it in its payer's share. */
  readonly rows: Row[];
}

export interface SetAsidesOptions {
  /** Called with the sum whenever it has changed. */
  readonly changed: (pulls: number) => void;
  readonly shares: {
    add(payer: string, row: Row): void;
    remove(payer: string, row: Row): void;
  };
}

/** All of one bucket: no more than its limit. Times are the ledger clock's. */
export class SetAsides {
  readonly #options: SetAsidesOptions;
  readonly #all = new Map<string, SetAside>();

  constructor(options: SetAsidesOptions, saved: readonly SavedSetAside[], now: number) {
    this.#options = options;
    for (const { pulls, taken, until, ...rest } of saved) {
      if (until <= now) continue;
      this.#add({ ...rest, taken: new Set(taken), until: Math.min(until, now + keptMs) }, pulls, now);
    }
  }

  /** What is set aside for what `request` asks for. */
  for({ repository, purpose: { image } }: QuotaRequest): Pick<SavedSetAside, "image" | "payer"> | undefined {
    if (!image) return undefined;
    return image.partOf
      .map((digest) => this.#all.get(`${repository.name}@${digest}`))
      .find((found) => found && !found.taken.has(image.digest));
  }

  /** How many are set aside for what follows this manifest: it is asked for again where it did not come before. */
  pullsOf({ name }: Repository, digest: Digest): number {
    return this.#all.get(`${name}@${digest}`)?.rows.length ?? 0;
  }

  /** Sets `pulls` aside with `request`, until it is settled. */
  add({ repository, purpose }: QuotaRequest, image: ImagePart, pulls: number, now: number): void {
    const name = `${repository.name}@${image.digest}`;
    this.#drop(name);
    const { payer } = purpose;
    this.#add({ image: name, payer, taken: new Set(), until: Number.POSITIVE_INFINITY }, pulls, now);
  }

  /** Takes one pull of what is set aside under `image`, for a manifest or because one is held. */
  take(image: string, digest: Digest): void {
    const found = this.#all.get(image);
    const row = found?.rows.pop();
    if (!found || !row) return;
    found.taken.add(digest);
    if (found.rows.length === 0) this.#all.delete(image);
    this.#options.shares.remove(found.payer, row);
    this.#changed();
  }

  /** What was taken for `request` was spent in vain, or not at all: it may have another. */
  putBack({ purpose }: QuotaRequest, image: string, now: number): void {
    const { payer } = purpose;
    const known = this.#all.get(image) ?? { image, payer, taken: new Set<Digest>(), until: now + keptMs };
    if (purpose.image) known.taken.delete(purpose.image.digest);
    this.#add(known, 1, now);
  }

  /** Gives back all that is set aside under these; false when there was nothing. */
  drop({ name }: Repository, digests: readonly Digest[]): boolean {
    const before = this.#all.size;
    for (const digest of digests) this.#drop(`${name}@${digest}`);
    return this.#all.size < before;
  }

  /** `request` was settled: what is set aside with it is kept for a while if it has come, and given back otherwise. */
  settled({ repository, purpose: { image } }: QuotaRequest, hasCome: boolean, now: number): void {
    const name = image && `${repository.name}@${image.digest}`;
    const found = name === undefined ? undefined : this.#all.get(name);
    if (!found) return;
    if (hasCome) found.until = now + keptMs;
    else this.#drop(found.image);
  }

  /** Is anything set aside for `repository`? */
  has({ name }: Repository): boolean {
    return this.#all.size > 0 && this.#all.keys().some((image) => image.startsWith(`${name}@`));
  }

  /** A part of one of these was found held: one pull fewer is needed. */
  foundHeld({ name }: Repository, held: Digest, partOf: readonly Digest[]): void {
    for (const digest of partOf) {
      const image = `${name}@${digest}`;
      if (!this.#all.get(image)?.taken.has(held)) this.take(image, held);
    }
  }

  /** Gives back what was not used in time; gives when there is more to give back. */
  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { image, until } of this.#all.values()) {
      if (until <= now) this.#drop(image);
      else next = Math.min(next, until);
    }
    return next;
  }

  /** Those of requests under way are kept from now on: whether the next process finds that they have come is not known. */
  saved(now: number): readonly SavedSetAside[] {
    return [...this.#all.values()].map(({ image, rows, taken, payer, until }) => {
      return { image, pulls: rows.length, taken: [...taken], payer, until: Math.min(until, now + keptMs) };
    });
  }

  #add(to: Omit<SetAside, "rows">, pulls: number, now: number): void {
    const added = Array.from({ length: pulls }, () => ({ sentAt: now, cost: 1 }));
    if (added.length === 0) return;
    for (const row of added) this.#options.shares.add(to.payer, row);
    const { rows } = this.#all.getOrInsertComputed(to.image, () => ({ ...to, rows: [] }));
    rows.push(...added);
    this.#changed();
  }

  #drop(image: string): void {
    const found = this.#all.get(image);
    if (!found) return;
    this.#all.delete(image);
    for (const row of found.rows) this.#options.shares.remove(found.payer, row);
    this.#changed();
  }

  #changed(): void {
    this.#options.changed(this.#all.values().reduce((sum, { rows }) => sum + rows.length, 0));
  }
}
