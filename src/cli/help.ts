/** The help texts, made from the table of commands. */
import { commands, type Command, type CommandName } from "./commands.ts";
import { exitCodes } from "./exit.ts";

/** The text of `hubcap --help`. */
export function generalHelp(): string {
  return [
    "Hubcap, a pull-through OCI registry cache that knows how many pulls are left.",
    "",
    "Usage: hubcap [COMMAND] [OPTIONS]",
    "",
    "Commands:",
    ...columns(Object.entries(commands).map(([name, { summary }]) => [name, summary])),
    "",
    "Options:",
    ...columns([
      ["-h, --help", "Show this, or after a command the help of that command."],
      ["-V, --version", "Show the version."],
    ]),
    "",
    ...exitCodeLines(),
  ].join("\n");
}

/** The text of `hubcap COMMAND --help`. */
export function commandHelp(name: CommandName): string {
  const { summary, operands, options, example }: Command = commands[name];
  const rows = Object.entries(options).map(([long, { short, value, description }]): [string, string] => [
    `${short === undefined ? "" : `-${short}, `}--${long}${value === undefined ? "" : ` ${value}`}`,
    description,
  ]);
  return [
    summary,
    "",
    `Usage: hubcap ${name} [OPTIONS] ${operands}`.trimEnd(),
    "",
    "Options:",
    ...columns([...rows, ["-h, --help", "Show this."]]),
    "",
    "Example:",
    `  ${example}`,
    "",
    ...exitCodeLines(),
  ].join("\n");
}

function exitCodeLines(): string[] {
  return [
    "Exit codes:",
    ...columns(Object.values(exitCodes).map(({ code, meaning }) => [`${code}`, meaning])),
  ];
}

function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
