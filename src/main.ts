#!/usr/bin/env node
/** The door: `hubcap COMMAND`; without a command, serve. Commands are imported when they are run, so that all start fast. */
import { readFileSync } from "node:fs";
import type { CommandName, Given } from "./cli/commands.ts";
import { endOf } from "./cli/exit.ts";
import { commandHelp, generalHelp } from "./cli/help.ts";
import { readLine } from "./cli/line.ts";

const runs: { readonly [Name in CommandName]: (given: Given<Name>) => Promise<void> } = {
  async serve({ values }) {
    const { readConfiguration } = await import("./cli/configuration.ts");
    const config = readConfiguration(values.config);
    const { serve } = await import("./serve.ts");
    await serve(config);
  },
  async quota({ values }) {
    const { showQuota } = await import("./cli/quota.ts");
    await showQuota({ ...values, failBelow: values["fail-below"] });
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
  async fsck({ values }) {
    const { readConfiguration } = await import("./cli/configuration.ts");
    const { root } = readConfiguration(values.config).storage;
    const { fsck } = await import("./cli/fsck.ts");
    await fsck({ root, repair: values.repair ?? false, json: values.json ?? false });
  },
};

async function main(args: readonly string[]): Promise<void> {
  const line = readLine(args);
  switch (line.kind) {
    case "help":
      return console.log(line.command === undefined ? generalHelp() : commandHelp(line.command));
    case "version":
      return console.log(version());
    case "run":
      return run(line.command, line.given);
  }
}

async function run<Name extends CommandName>(command: Name, given: Given<Name>): Promise<void> {
  await runs[command](given);
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  return manifest.version;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const { code, text } = endOf(error);
  console.error(text);
  process.exitCode = code;
}
