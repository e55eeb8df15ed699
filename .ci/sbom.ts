/**
 * Prints what runs of others' code, as CycloneDX: npm's own list without what only tests need. `npm sbom --omit=dev` leaves out
 * packages too that both need.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

interface Bom {
  components: { readonly "bom-ref": string }[];
  dependencies: { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

interface Lock {
  readonly packages: Readonly<
    Record<string, { readonly name?: string; readonly version?: string; readonly dev?: boolean }>
  >;
}

const bom = JSON.parse(
  execFileSync("npm", ["sbom", "--package-lock-only", "--sbom-format=cyclonedx"], {
    maxBuffer: 256 * 1024 * 1024,
    stdio: ["ignore", "pipe", "ignore"],
  }).toString(),
) as Bom;
const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as Lock;
const running = new Set(
  Object.entries(lock.packages)
    .filter(([, { dev }]) => !dev)
    .map(([path, { name, version }]) => `${name ?? path.replace(/^.*node_modules\//, "")}@${version}`),
);
bom.components = bom.components.filter((each) => running.has(each["bom-ref"]));
bom.dependencies = bom.dependencies
  .filter(({ ref }) => running.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => running.has(other)) }));
process.stdout.write(`${JSON.stringify(bom, undefined, 2)}\n`);
