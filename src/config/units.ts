/** Durations, sizes and shares as people write them, and the numbers they stand for. */

/** What a duration looks like. */
export const durationGrammar = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** What a size looks like: decimal units as disks are sold by, binary units as memory is. */
export const sizeGrammar = /^(\d+(?:\.\d+)?)(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$/;

/** What a share of a whole looks like. */
export const shareGrammar = /^(\d+(?:\.\d+)?) ?(%)$/;

const milliseconds: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const bytes: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** The milliseconds in `5m`, `30d` or `250ms`; undefined for any other text. */
export function parseDuration(text: string): number | undefined {
  return whole(scaled(text, durationGrammar, milliseconds));
}

/** The bytes in `50GiB` or `500MB`; undefined for any other text. */
export function parseSize(text: string): number | undefined {
  return whole(scaled(text, sizeGrammar, bytes));
}

/** The fraction in `10%` or `10 %`, from 0 to 1; undefined for any other text. */
export function parseShare(text: string): number | undefined {
  const percent = scaled(text, shareGrammar, { "%": 1 });
  return percent !== undefined && percent <= 100 ? percent / 100 : undefined;
}

function scaled(text: string, grammar: RegExp, units: Readonly<Record<string, number>>): number | undefined {
  const [, amount, unit] = grammar.exec(text) ?? [];
  const factor = units[unit ?? ""];
  return factor === undefined ? undefined : Number(amount) * factor;
}

function whole(amount: number | undefined): number | undefined {
  const rounded = Math.round(amount ?? Number.NaN);
  return Number.isSafeInteger(rounded) ? rounded : undefined;
}
