/** Readers that have asked for a blob and take nothing of it: what each of them costs in memory. */
import { setTimeout as wait } from "node:timers/promises";
import type { Case, Lab } from "../lab.ts";
import { stall } from "../load/stalled.ts";
import { forgetPeak, processesAt, residentBytes } from "../processes.ts";
import { judge, type Row } from "../report.ts";

const readers = 500;

export const stalledReaders: Case = { name: "stalled", run };

async function run(lab: Lab): Promise<Row[]> {
  const rounds: number[] = [];
  for (let round = 0; round < (lab.quick ? 1 : 3); round += 1) rounds.push(await measure(lab));
  return [
    judge({
      what: `${readers} stalled readers: RSS growth`,
      unit: "MB",
      hubcap: { server: "Hubcap", rounds },
      demand: { of: "figure", sense: "at most", bound: 300 },
    }),
  ];
}

async function measure(lab: Lab): Promise<number> {
  await using hubcap = await lab.startFullHubcap();
  const processes = processesAt(hubcap.url);
  forgetPeak(processes);
  const before = residentBytes(processes).now;
  await using _readers = await stall(hubcap.url, lab.shop.blob.path, readers);
  // What is read ahead for a reader is read by then.
  await wait(lab.quick ? 2000 : 10_000);
  return (residentBytes(processes).peak - before) / 1e6;
}
