/** wrk: as many GET requests as a server can answer. */
import { runProgram } from "../programs.ts";
import { headers } from "./connection.ts";

/** What came in a second. */
export interface Throughput {
  readonly answers: number;
  readonly bytes: number;
}

/** wrk names bytes in powers of 1024. */
const factors: Readonly<Record<string, number>> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** A blob may take longer than the two seconds after which wrk calls an answer late. */
const patience = ["--timeout", "30s"];

/** GET requests over `connections` for so many seconds. Rejects when one was not answered with a 2xx. */
export async function getMany(url: string, connections: number, seconds: number): Promise<Throughput> {
  const named = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const printed = await runProgram(
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    ...patience,
    ...named,
    url,
  );
  const answers = /^Requests\/sec:\s+(?<number>[\d.]+)$/m.exec(printed)?.groups?.["number"];
  const { number, factor = "" } =
    /^Transfer\/sec:\s+(?<number>[\d.]+)(?<factor>[KMG]?)B$/m.exec(printed)?.groups ?? {};
  if (answers === undefined || number === undefined || /Non-2xx|Socket errors/.test(printed))
    throw new Error(`wrk at ${url}:\n${printed}`);
  return { answers: Number(answers), bytes: Number(number) * (factors[factor] ?? 1) };
}
