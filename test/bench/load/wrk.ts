/** wrk: as many GET requests as a server can answer. */
import { runProgram } from "../programs.ts";
import { headers } from "./connection.ts";

/** GET requests a second over `connections`. Rejects when one was not answered with a 2xx. */
export async function getsPerSecond(url: string, connections: number, seconds: number): Promise<number> {
  const named = Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const told = await runProgram("wrk", "-t1", `-c${connections}`, `-d${seconds}s`, ...named, url);
  const perSecond = /^Requests\/sec:\s+(?<number>[\d.]+)$/m.exec(told)?.groups?.["number"];
  if (perSecond === undefined || /Non-2xx|Socket errors/.test(told))
    throw new Error(`wrk at ${url}:\n${told}`);
  return Number(perSecond);
}
