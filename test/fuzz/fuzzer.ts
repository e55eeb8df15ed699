/** Runs the coverage-guided fuzzer on one target, in a process of its own. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { targets } from "./targets/targets.ts";

const here = import.meta.dirname;
const cli = join(dirname(createRequire(import.meta.url).resolve("@jazzer.js/core")), "cli.js");

/** What reached a new place is kept here, so that one run goes on where the last one ended. */
const corpora = fileURLToPath(new URL("../../node_modules/.cache/hubcap-fuzz/", import.meta.url));

export interface FuzzOptions {
  readonly seconds: number;
  /** Where inputs are put that broke something. */
  readonly crashes: string;
  /** Where what reached a new place is kept; among the caches unless it is given. */
  readonly corpus?: string;
  /** Called with each line of the fuzzer's output. */
  readonly said?: (line: string) => void;
}

export interface FuzzResult {
  readonly runs: number;
  /** Places in the code that were reached: by the seeds, and in the end. */
  readonly places: readonly [seeded: number, reached: number];
  /** The same, with how often each was. */
  readonly features: readonly [seeded: number, reached: number];
  readonly crashes: readonly { readonly file: string; readonly input: Buffer }[];
  /** What went wrong, as the fuzzer tells it. */
  readonly trouble: string;
  readonly code: number | null;
}

/** Fuzzes the target `name` for `seconds`. */
export async function fuzz(
  name: string,
  { seconds, crashes, said, ...options }: FuzzOptions,
): Promise<FuzzResult> {
  const target = targets[name];
  if (!target) throw new Error(`${name} is not a target: there are ${Object.keys(targets).join(", ")}`);
  const corpus = options.corpus ?? join(corpora, name);
  await Promise.all([corpus, crashes].map((folder) => mkdir(folder, { recursive: true })));
  for (const seed of target.seeds) {
    const bytes = Buffer.from(seed, "utf8");
    await writeFile(join(corpus, createHash("sha1").update(bytes).digest("hex")), bytes);
  }
  const before = new Set(await readdir(crashes));
  const child = spawn(
    process.execPath,
    [
      "--disable-warning=DEP0205",
      "--disable-warning=ExperimentalWarning",
      "--import",
      join(here, "preload.ts"),
      cli,
      join(here, "entry.mjs"),
      corpus,
      "--sync",
      "-i",
      "/src/",
      "--",
      `-max_total_time=${seconds}`,
      "-max_len=16384",
      `-artifact_prefix=${crashes}/${name}-`,
    ],
    { env: { ...process.env, HUBCAP_FUZZ: name }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  const read = (piece: Buffer): void => {
    output += piece.toString();
    if (said) for (const line of piece.toString().split("\n")) if (/^#\d/.test(line)) said(line);
  };
  child.stdout.on("data", read);
  child.stderr.on("data", read);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const firstAndLast = (pattern: RegExp): readonly [number, number] => {
    const counts = [...output.matchAll(pattern)].map(([, count]) => Number(count));
    return [counts[0] ?? 0, counts.at(-1) ?? 0];
  };
  const fresh = (await readdir(crashes)).filter((file) => !before.has(file));
  return {
    runs: Number(/^Done (\d+) runs/m.exec(output)?.[1] ?? 0),
    places: firstAndLast(/\bcov: (\d+)/g),
    features: firstAndLast(/\bft: (\d+)/g),
    crashes: await Promise.all(
      fresh.map(async (file) => ({ file: join(crashes, file), input: await readFile(join(crashes, file)) })),
    ),
    trouble:
      code === 0
        ? ""
        : output
            .split("\n")
            .filter((line) => !/^(?:#|INFO)/.test(line))
            .slice(0, 40)
            .join("\n"),
    code,
  };
}
