/** The chart in helm/, rendered by the real helm and judged by Kubernetes' own schemas. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments, stringify } from "yaml";
import { requireClient, tools } from "../support/clients.ts";
import { run } from "../support/clients/process.ts";

/** The folder of the chart. */
export const chart = fileURLToPath(new URL("../../helm", import.meta.url));

/** Values as an operator writes them. */
export type Values = Readonly<Record<string, unknown>>;

// eslint-disable-next-line typescript/no-explicit-any -- what a test looks for in it, it checks
type Loose = any;

/** Something that the chart makes. `spec` and `data` are as loose as they are written. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: Loose;
  readonly data?: Readonly<Record<string, string>>;
  readonly [field: string]: Loose;
}

/** What an operator cannot leave out. */
export const least: Values = { image: { repository: "registry.example/hubcap" } };

// The first release of Kubernetes that the chart is for.
const oldest = "1.30.0";

/** What `helm template` prints. Rejects with what helm says against the values. */
export async function template(values: Values, release = "hubcap"): Promise<string> {
  return helm(values, ["template", release, chart, "--namespace=registry", `--kube-version=${oldest}`]);
}

/** Everything that an installation with these values makes. */
export async function render(values: Values, release?: string): Promise<Manifest[]> {
  const documents = parseAllDocuments(await template(values, release));
  return documents.map((document) => document.toJS() as Manifest).filter((manifest) => manifest !== null);
}

/** What `helm lint --strict` prints. Rejects when it finds fault. */
export async function lint(values: Values): Promise<string> {
  return helm(values, ["lint", "--strict", chart, `--kube-version=${oldest}`]);
}

/** The one manifest of a kind. Throws when there is another number of them. */
export function only(manifests: readonly Manifest[], kind: string, name?: RegExp): Manifest {
  const found = manifests.filter((one) => one.kind === kind && (name?.test(one.metadata.name) ?? true));
  const [first] = found;
  if (first === undefined || found.length > 1) throw new Error(`${found.length} manifests of kind ${kind}`);
  return first;
}

/** Checks manifests as an API server of that release would, with unknown fields refused. Rejects with what is wrong. */
export async function validate(text: string): Promise<void> {
  await withFolder(async (folder) => {
    const file = join(folder, "manifests.yaml");
    await writeFile(file, text);
    const { path } = requireClient("kubectl-validate");
    const parameters = ["--version=1.30", `--local-crds=${join(tools, "definitions")}`, file];
    await run(path, parameters, process.env);
  });
}

/** What `work` makes of a folder that is there only as long as it works. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-helm-"));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function helm(values: Values, parameters: readonly string[]): Promise<string> {
  return withFolder(async (folder) => {
    const file = join(folder, "values.yaml");
    // Helm reads YAML 1.1, to which `no` is false.
    await writeFile(file, stringify(values, { version: "1.1" }));
    const env = { ...process.env, HOME: folder };
    return run(requireClient("helm").path, [...parameters, "--values", file], env);
  });
}
