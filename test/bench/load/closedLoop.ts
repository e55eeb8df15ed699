/** As many requests as a server can answer: each connection sends its next one when the last was answered. */
import { Connection } from "./connection.ts";

/**
 * HEAD requests a second over `connections`. wrk cannot do this: it waits for the body that a HEAD's Content-Length
 * announces and that never comes.
 */
export async function headsPerSecond(
  url: string,
  path: string,
  connections: number,
  seconds: number,
): Promise<number> {
  await using open = new AsyncDisposableStack();
  const all: Connection[] = [];
  for (let count = 0; count < connections; count += 1) {
    all.push(open.use(await Connection.open(url, 4096)));
  }
  let answered = 0;
  const started = performance.now();
  const end = started + seconds * 1000;
  await Promise.all(
    all.map(async (connection) => {
      while (performance.now() < end) {
        await connection.ask("HEAD", path);
        answered += 1;
      }
    }),
  );
  return (answered * 1000) / (performance.now() - started);
}
