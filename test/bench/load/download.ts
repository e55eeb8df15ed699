/** Downloads of the blob: how long they take, and whether what comes is the blob. */
import type { Goods } from "../goods.ts";
import { Connection } from "./connection.ts";

/** Milliseconds from the request on. */
export interface Download {
  readonly firstByteMs: number;
  readonly totalMs: number;
}

/** Large enough that reading costs little beside the copy itself. */
const readBytes = 512 * 1024;

/** Downloads `goods` once and compares every byte, which costs a fraction of a digest. Rejects when one differs. */
export async function download(url: string, { path, bytes }: Goods): Promise<Download> {
  await using connection = await Connection.open(url, readBytes);
  const started = performance.now();
  let firstByteMs = 0;
  let at = 0;
  await connection.ask("GET", path, (piece) => {
    firstByteMs ||= performance.now() - started;
    if (bytes.compare(piece, 0, piece.length, at, at + piece.length) !== 0) {
      throw new Error(`${url} sent other bytes than the blob's after ${at}`);
    }
    at += piece.length;
  });
  if (at !== bytes.length) throw new Error(`${url} sent ${at} bytes instead of ${bytes.length}`);
  return { firstByteMs, totalMs: performance.now() - started };
}

/**
 * Downloads `goods` `times` times over each of so many connections at once, and looks at nothing but the number of bytes; in
 * seconds.
 */
export async function drain(
  url: string,
  goods: Goods,
  { times, connections }: { readonly times: number; readonly connections: number },
): Promise<number> {
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, () => drainOver(url, goods, times)));
  return (performance.now() - started) / 1000;
}

async function drainOver(url: string, { path, bytes }: Goods, times: number): Promise<void> {
  await using connection = await Connection.open(url, readBytes);
  let received = 0;
  for (let time = 0; time < times; time += 1) {
    await connection.ask("GET", path, (piece) => {
      received += piece.length;
    });
  }
  if (received !== times * bytes.length) throw new Error(`${url} sent ${received} bytes in ${times} answers`);
}
