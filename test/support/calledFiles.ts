/**
 * Loaded into Hubcap with `--import`: on SIGUSR2 it writes the files of src that have had a function called since the last time,
 * or since the start, to `CALLED_FILES`, one a line, and says so on standard error.
 */
import { writeFileSync } from "node:fs";
import { Session } from "node:inspector/promises";

const session = new Session();
session.connect();
await session.post("Profiler.enable");
await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
let count = 0;

async function write(): Promise<void> {
  const { result } = await session.post("Profiler.takePreciseCoverage");
  const files = result.flatMap(({ url, functions }) => {
    const [, file] = /\/src\/(.*)$/.exec(url) ?? [];
    // A file's own body runs when it is loaded, which is no call.
    const isCalled = functions.some(
      ({ functionName, ranges }) => functionName !== "" && ranges.some((range) => range.count > 0),
    );
    return file !== undefined && isCalled && !url.includes("/node_modules/") ? [file] : [];
  });
  writeFileSync(process.env["CALLED_FILES"] ?? "", files.toSorted().join("\n"));
  count += 1;
  process.stderr.write(`called files ${count}\n`);
}

process.on("SIGUSR2", () => void write());
