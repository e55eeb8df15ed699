/** Hubcap with nothing to do: how soon it is ready, and what it holds in memory. */
import { setTimeout as wait } from "node:timers/promises";
import type { Case, Lab } from "../lab.ts";
import { processesAt, residentBytes } from "../processes.ts";
import { judge, type Row } from "../report.ts";

export const idle: Case = { name: "idle", run };

async function run(lab: Lab): Promise<Row[]> {
  const ready: number[] = [];
  const resident: number[] = [];
  await using hubcap = await lab.startHubcap();
  for (let round = 0; round < (lab.quick ? 2 : 5); round += 1) {
    ready.push((await lab.restart(hubcap)) / 1000);
    await wait(lab.quick ? 1000 : 5000);
    resident.push(residentBytes(processesAt(hubcap.url)).now / 1e6);
  }
  return [
    judge({
      what: "idle: RSS",
      unit: "MB",
      hubcap: { server: hubcap.name, rounds: resident },
      demand: { of: "figure", sense: "at most", bound: 120 },
    }),
    judge({
      what: "start to ready",
      unit: "s",
      hubcap: { server: hubcap.name, rounds: ready },
      demand: { of: "figure", sense: "at most", bound: 1 },
    }),
  ];
}
