/** What comes from others: pinned, with a hash, without scripts, for a reason that is written down, and listed. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
}

interface Package {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly allowScripts: Readonly<Record<string, boolean>>;
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(join(root, file), "utf8"));
}

const { dependencies, devDependencies, allowScripts } = readJson("package.json") as Package;
const lock = readJson("package-lock.json") as { packages: Readonly<Record<string, Locked>> };
const locked = Object.entries(lock.packages).filter(([path]) => path !== "");

test("every dependency is pinned to one version", () => {
  const versions = Object.values({ ...dependencies, ...devDependencies });
  expect(versions.filter((version) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version))).toEqual([]);
});

test("every package in the lock file has a hash, and no address that only some can reach", () => {
  expect(locked.length).toBeGreaterThan(100);
  expect(locked.filter(([, { integrity }]) => !/^sha512-[\w+/]{86}==$/.test(integrity ?? ""))).toEqual([]);
  expect(locked.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
});

test("no package runs a script at installation that was not thought about", () => {
  const scripted = locked.filter(([, { hasInstallScript }]) => hasInstallScript);
  const names = scripted.map(([path]) => path.replace(/^.*node_modules\//, ""));
  expect(names.filter((name) => !(name in allowScripts))).toEqual([]);
});

test("every dependency has its reason in the decision about them, and nothing else has", () => {
  const text = readFileSync(join(root, "docs/decisions/0008-dependencies.md"), "utf8");
  const rows = [...text.matchAll(/^\| (?!package|---)([^|]+) \|/gm)].flatMap(([, names = ""]) =>
    names.split(", "),
  );
  expect(rows.toSorted()).toEqual(Object.keys(dependencies).toSorted());
  const forTests = /never gets into the image:\s([^.]*(?:\.[^.\s][^.]*)*)\./.exec(text)?.[1] ?? "";
  expect(forTests.split(/,\s+/).toSorted()).toEqual(Object.keys(devDependencies).toSorted());
});

test("npm run sbom lists all that runs and nothing that only tests need, with versions, licences and hashes", () => {
  const [command = "", ...args] = "npm run --silent sbom".split(" ");
  const bom = JSON.parse(
    execFileSync(command, args, { cwd: root, stdio: ["ignore", "pipe", "ignore"] }).toString(),
  ) as {
    bomFormat: string;
    components: { name: string; version: string; licenses?: object[]; hashes?: { alg: string }[] }[];
  };
  expect(bom.bomFormat).toBe("CycloneDX");
  const listed = new Map(bom.components.map(({ name, ...rest }) => [name, rest]));
  for (const [name, version] of Object.entries(dependencies))
    expect(listed.get(name)).toMatchObject({ version });
  for (const name of ["vitest", "fast-check", "@jazzer.js/core"]) expect(listed.has(name)).toBe(false);
  const bare = bom.components.filter(
    ({ licenses = [], hashes = [] }) => licenses.length === 0 || hashes.length === 0,
  );
  expect(bare.map(({ name }) => name)).toEqual([]);
});
