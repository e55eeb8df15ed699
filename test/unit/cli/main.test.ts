import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { commands, type CommandName } from "../../../src/cli/commands.ts";
import { endOf, exitCodes } from "../../../src/cli/exit.ts";
import { runHubcap } from "../../support/run.ts";
import { fileWith } from "../config/configuration.ts";

const hubcap = (...args: string[]) => runHubcap(args);

test("--help lists every command and every exit code", async () => {
  const { code, output, errors } = await hubcap("--help");
  expect([code, errors]).toEqual([0, ""]);
  for (const word of [...Object.keys(commands), "0  ", "1  ", "2  ", "78  "])
    expect(output).toContain(`\n  ${word}`);
});

test.each(Object.entries(commands))(
  "%s --help names its options and shows an example",
  async (name, command) => {
    const { code, output } = await hubcap(name, "--help");
    expect(code).toBe(0);
    expect(output).toContain(`hubcap ${name}`);
    expect(output).toContain(`\n  ${command.example}\n`);
    for (const option of Object.keys(command.options)) expect(output).toContain(`--${option}`);
  },
);

test("--version tells the version", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  expect(await hubcap("--version")).toEqual({ code: 0, output: `${version}\n`, errors: "" });
});

test.each([
  ["an unknown command", ["sevre"], "there is no command sevre, did you mean serve?"],
  ["an unknown option", ["serve", "--confg", "x"], "Unknown option '--confg'"],
  ["an option without its value", ["serve", "--config"], "--config"],
  ["an option in place of a value", ["serve", "--config", "--confg"], "ambiguous"],
  ["too many words", ["serve", "now"], "Unexpected argument 'now'"],
])("%s ends with 2 and one clear line", async (_what, args, reason) => {
  const { code, output, errors } = await hubcap(...args);
  expect([code, output]).toEqual([2, ""]);
  expect(errors).toMatch(/^hubcap: .+--help\n$/);
  expect(errors).toContain(reason);
});

test.each([[["serve", "--config"]], [["--config"]]])(
  "%j with a wrong file ends with 78, a line for each mistake and what to do",
  async (args) => {
    const file = fileWith("storage: { capacity: 5 }\nlog: { level: loud }\nstatus: { port: 80 }\n");
    const { code, output, errors } = await hubcap(...args, file);
    expect([code, output]).toEqual([78, ""]);
    const [first, second, third, last, ...more] = errors.trimEnd().split("\n");
    expect(first).toBe("status.port: got a number, expected one of listen, tls");
    expect(second).toBe("storage.capacity: got 5, expected a size such as 50GiB or 500MB");
    expect(third).toBe(`log.level: got "loud", expected debug or info or warn or error`);
    expect(last).toMatch(/^hubcap: 3 mistakes in the configuration; .*docs\/configuration\.md/);
    expect(more).toEqual([]);
  },
);

const nowhere = ["--config", "/nowhere/hubcap.yaml"];
const unreachable = ["--status", "http://127.0.0.1:9"];

/** A way in which each command must fail, and its exit code; a command that is not here does not compile. */
const failures: Readonly<Record<CommandName, readonly [code: number, args: readonly string[]]>> = {
  serve: [78, nowhere],
  quota: [1, unreachable],
  cache: [1, ["ls", ...unreachable]],
  doctor: [78, ["nginx", ...nowhere]],
  "client-config": [1, ["containerd", "--mirror", "http://hubcap.example", "--write", "/dev/null"]],
  export: [78, ["nginx", "-o", "/dev/null", ...nowhere]],
  import: [78, ["/nowhere/images.tar", ...nowhere]],
  fsck: [78, nowhere],
  warm: [1, ["nginx", ...unreachable]],
};

test.each(Object.entries(failures))(
  "%s ends with its exit code and with one line that is no stack trace, whatever fails",
  async (name, [code, args]) => {
    const failed = await hubcap(name, ...args);
    expect([failed.code, failed.output]).toEqual([code, ""]);
    // A configuration has a line for each mistake, and one that says what to do.
    expect(failed.errors.trimEnd().split("\n")).toHaveLength(code === 78 ? 2 : 1);
    expect(failed.errors).toMatch(/^hubcap: /m);
    expect(failed.errors).not.toMatch(/^\s+at /m);

    const mistyped = await hubcap(name, "--no-such-option");
    expect([mistyped.code, mistyped.output]).toEqual([2, ""]);
    expect(mistyped.errors).toMatch(
      /^hubcap: Unknown option '--no-such-option'[^\n]*See hubcap [\w-]+ --help\n$/,
    );
  },
);

test("README.md tells the exit codes", () => {
  const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
  for (const { code, meaning } of Object.values(exitCodes))
    expect(readme).toContain(`| ${code} | ${meaning} |`);
});

test("any other failure ends with 1 and one line without a stack trace", () => {
  const error = new Error("the port is taken\n  by another");
  expect(endOf(error)).toEqual({ code: 1, text: "hubcap: the port is taken by another" });
  expect(endOf("no error at all")).toEqual({ code: 1, text: "hubcap: no error at all" });
});
