/** `npm run bench`: measures Hubcap beside its peers and says whether it is as fast as it must be. */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { cachedBlob } from "./cases/blob.ts";
import { coldBlob } from "./cases/cold.ts";
import { herd } from "./cases/herd.ts";
import { idle } from "./cases/idle.ts";
import { openModelLatency } from "./cases/latency.ts";
import { cachedManifest } from "./cases/manifest.ts";
import { stalledReaders } from "./cases/stalled.ts";
import { workers } from "./cases/workers.ts";
import { Lab, type Case } from "./lab.ts";
import { Machine } from "./machine.ts";
import { exitCodeOf, type Row } from "./report.ts";
import { tableOf } from "./table.ts";

const cases = [cachedBlob, cachedManifest, openModelLatency, coldBlob, herd, stalledReaders, idle, workers];

const usage = `npm run bench -- [--only NAME]… [--quick] [--json FILE] [--profile FOLDER]

  --only NAME        one of ${cases.map(({ name }) => name).join(", ")}; may be given more than once
  --quick            fewer rounds and smaller sizes: whether it works, not how fast it is
  --json FILE        writes all rounds of all figures to FILE
  --profile FOLDER   has each Hubcap leave a CPU profile there, which slows it down

Ends with 0 when every figure is as it must be, and with 1 when not.`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      json: { type: "string" },
      profile: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  const { only, quick, json, profile, help } = values;
  const unknown = only.filter((name) => !cases.some((one) => one.name === name));
  if (help || unknown.length > 0) {
    console.error(unknown.length > 0 ? `no such case: ${unknown.join(", ")}\n\n${usage}` : usage);
    return unknown.length > 0 ? 1 : 0;
  }
  const machine = new Machine();
  await machine.bearLoad();
  const nodeArgs = profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
  await using lab = await Lab.open({ machine, quick, nodeArgs });

  const rows: Row[] = [];
  for (const one of cases.filter(({ name }) => only.length === 0 || only.includes(name))) {
    console.error(`${one.name} …`);
    rows.push(...(await rowsOf(one, lab)));
  }
  const { cores, coreCount, processor, congestionControl } = machine;
  const date = new Date().toISOString().slice(0, 10);
  const pinned = cores ? `servers on one core, load on ${cores.load.split(",").length} other` : "not pinned";
  console.log(
    `${date}, ${coreCount} × ${processor}, ${pinned}, ${congestionControl}, Node ${process.version}${quick ? ", --quick" : ""}\n`,
  );
  console.log(tableOf(rows));
  if (json !== undefined) {
    const document = {
      date,
      processor,
      cores: coreCount,
      congestionControl,
      pinned: cores !== undefined,
      node: process.version,
      quick,
      rows,
    };
    await writeFile(json, `${JSON.stringify(document, undefined, 2)}\n`);
  }
  return exitCodeOf(rows);
}

/** The case's rows, or one that says why there are none: what one cannot measure, the next one may. */
async function rowsOf({ name, run }: Case, lab: Lab): Promise<Row[]> {
  try {
    return await run(lab);
  } catch (error) {
    console.error(error);
    const why = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    return [{ what: name, verdict: "failed", why }];
  }
}

process.exitCode = await main();
