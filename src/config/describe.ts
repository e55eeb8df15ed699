/** Writes config/hubcap.schema.json, docs/configuration.md and helm/values.schema.json from the schema: `npm run docs`. */
import { writeFileSync } from "node:fs";
import { chartSchema } from "./chart.ts";
import { jsonSchema, settings, variableOf, type Setting } from "./settings.ts";

/** The generated files: path from the top of the repository, and text. */
export function describeConfiguration(): ReadonlyMap<string, string> {
  return new Map([
    ["config/hubcap.schema.json", `${JSON.stringify(jsonSchema, undefined, 2)}\n`],
    ["docs/configuration.md", page()],
    ["helm/values.schema.json", `${JSON.stringify(chartSchema(), undefined, 2)}\n`],
  ]);
}

const introduction = `# Configuration

<!-- Generated from src/config/schema.ts by \`npm run docs\`. Change it there. -->

Hubcap reads one YAML file, \`config/hubcap.yaml\` unless \`hubcap serve --config FILE\` names another, and then the
environment. A setting's environment variable overrides the file, and the file overrides the default. Every setting that needs
one has a default, so an empty file is a working configuration.

- **Durations** are written as \`250ms\`, \`30s\`, \`5m\`, \`12h\` or \`30d\`; **sizes** as \`500MB\` or \`50GiB\`; **shares** as \`10%\`.
- **Paths** are relative to the working directory. A file that a setting names must be readable at the start; files with the
  credential of an upstream are reread when they change.
- **Environment variables** of text settings hold the text as it is. Those of other settings, and of whole sections such as
  \`HUBCAP_STORAGE\`, \`HUBCAP_UPSTREAMS\` or \`HUBCAP_UPSTREAMS_DOCKER_IO_QUOTA\`, hold YAML and replace what the file says
  there. In \`HUBCAP_UPSTREAMS_<HOST>_…\` the host of a configured upstream is written in upper case, with \`_\` for every other
  character: \`HUBCAP_UPSTREAMS_DOCKER_IO_CREDENTIAL_USERNAME\`. A \`HUBCAP_\` variable that is no setting is an error, except
  those that Kubernetes sets for Services (\`HUBCAP_…_SERVICE_HOST\`, \`HUBCAP_…_PORT\` and the like).
- **Secrets** are best kept in files. They are always printed as \`***\`.
- **Mistakes**, unknown settings among them, are all reported at once, and Hubcap exits with code 78.

Editors check the file while you edit it if it begins with \`# yaml-language-server: $schema=hubcap.schema.json\`.
Complete examples for common setups are in [config/examples](../config/examples).
`;

function page(): string {
  const sections = settings.filter(({ path, type }) => path.length === 1 && type === "section");
  const parts = sections.map((section) =>
    part(`\`${section.path.join(".")}\``, section.description, within(section)),
  );
  const single = settings.filter(({ path, type }) => path.length === 1 && type !== "section");
  return [introduction, part("At the top level", "", single), ...parts].join("\n");
}

function within(section: Setting): Setting[] {
  return settings.filter(
    ({ path, type }) => path.length > 1 && path[0] === section.path[0] && type !== "section",
  );
}

function part(title: string, description: string, rows: readonly Setting[]): string {
  const table = rows.map(({ path, type, default: value, description }) => {
    const name = path.join(".").replace("*", "<host>");
    const variable = variableOf(path.map((key) => (key === "*" ? "HOST" : key))).replace(
      "UPSTREAMS_HOST",
      "UPSTREAMS_<HOST>",
    );
    return `| \`${name}\` | ${type} | ${shownDefault(value)} | \`${variable}\` | ${description} |`;
  });
  return [
    `## ${title}`,
    "",
    ...(description === "" ? [] : [description, ""]),
    "| setting | type | default | environment variable | meaning |",
    "|---|---|---|---|---|",
    ...table,
    "",
  ].join("\n");
}

function shownDefault(value: unknown): string {
  return value === undefined ? "–" : `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

if (import.meta.main) {
  const top = new URL("../..", import.meta.url);
  for (const [path, text] of describeConfiguration()) writeFileSync(new URL(path, top), text);
}
