#!/usr/bin/env node
/** The command line: `hubcap COMMAND`; without a command, serve. Commands are imported when they are run, so that all start fast. */
import type { CommandName, Given } from "./cli/commands.ts";
import { endOf, exitCodes, UsageError } from "./cli/exit.ts";
import { commandHelp, generalHelp } from "./cli/help.ts";
import { readLine } from "./cli/line.ts";
import packageJson from "../package.json" with { type: "json" };

const runs: { readonly [Name in CommandName]: (given: Given<Name>) => Promise<void> } = {
  async serve({ values }) {
    const { readConfiguration } = await import("./cli/input.ts");
    const config = readConfiguration(values.config);
    const { serve } = await import("./serve/serve.ts");
    await serve(config);
  },
  async quota({ values }) {
    const { showQuota } = await import("./cli/quota.ts");
    await showQuota({ ...values, failBelow: values["fail-below"] });
  },
  async export({ values, positionals }) {
    if (values.output === undefined || positionals.length === 0) {
      throw new UsageError("export needs an image and -o FILE. See hubcap export --help");
    }
    const { exportImages } = await import("./cli/export.ts");
    const { platform, output: file } = values;
    await exportImages({ images: positionals, file, platform, ...(await storeOf(values.config)) });
  },
  async import({ values, positionals }) {
    const [file, ...more] = positionals;
    if (file === undefined || more.length > 0) {
      throw new UsageError("import needs one FILE. See hubcap import --help");
    }
    const { importImages } = await import("./cli/import.ts");
    await importImages({ file, as: values.as, ...(await storeOf(values.config)) });
  },
  async cache({ values, positionals }) {
    const { cache } = await import("./cli/cache.ts");
    await cache(positionals, {
      status: values.status,
      tokenFile: values["token-file"],
      dryRun: values["dry-run"] ?? false,
      json: values.json ?? false,
    });
  },
  async doctor({ values, positionals }) {
    const { doctor } = await import("./cli/doctor/doctor.ts");
    const works = await doctor(positionals, { ...values, tokenFile: values["token-file"] });
    if (!works) process.exitCode = exitCodes.failure.code;
  },
  async "client-config"({ values, positionals }) {
    const { clientConfig } = await import("./cli/clientConfig.ts");
    await clientConfig(positionals, {
      ...values,
      noFallback: values["no-fallback"],
      tokenFile: values["token-file"],
    });
  },
  async warm({ values, positionals }) {
    const { warm } = await import("./cli/warm.ts");
    const { status, file, kubeconfig, wait = false, json = false } = values;
    await warm(positionals, {
      status,
      tokenFile: values["token-file"],
      file,
      platforms: values.platform,
      fromCluster: values["from-cluster"] ?? false,
      namespaces: values.namespace ?? [],
      kubeconfig,
      wait,
      json,
    });
  },
  async fsck({ values }) {
    const { readConfiguration } = await import("./cli/input.ts");
    const { root } = readConfiguration(values.config).storage;
    const { fsck } = await import("./cli/fsck.ts");
    await fsck({ root, repair: values.repair ?? false, json: values.json ?? false });
  },
};

/** Where the store of a configuration lies, and what its image names mean. */
async function storeOf(file: string | undefined) {
  const { readConfiguration } = await import("./cli/input.ts");
  const { storage, upstreams, defaultUpstream } = readConfiguration(file);
  return { root: storage.root, routing: { upstreams: new Set(Object.keys(upstreams)), defaultUpstream } };
}

async function main(args: readonly string[]): Promise<void> {
  const line = readLine(args);
  switch (line.kind) {
    case "help":
      return console.log(line.command === undefined ? generalHelp() : commandHelp(line.command));
    case "version":
      return console.log(packageJson.version);
    case "run":
      return run(line.command, line.given);
  }
}

async function run<Name extends CommandName>(command: Name, given: Given<Name>): Promise<void> {
  await runs[command](given);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const { code, text } = endOf(error);
  console.error(text);
  process.exitCode = code;
}
