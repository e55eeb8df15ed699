/** Reads the command line by the table of commands. */
import { parseArgs } from "node:util";
import { nearest } from "../config/suggest.ts";
import { commands, type CommandName, type Given } from "./commands.ts";
import { UsageError } from "./exit.ts";

/** What was asked for. */
export type Line =
  | { readonly kind: "help"; readonly command?: CommandName }
  | { readonly kind: "version" }
  | { readonly kind: "run"; readonly command: CommandName; readonly given: Given<CommandName> };

/** The meaning of the arguments after `hubcap`. Throws UsageError. */
export function readLine(args: readonly string[]): Line {
  const [first] = args;
  if (first === "--help" || first === "-h") return { kind: "help" };
  if (first === "--version" || first === "-V") return { kind: "version" };
  // Options without a command are those of `serve`.
  const named = first !== undefined && !first.startsWith("-");
  const command = named ? first : "serve";
  if (!isCommand(command)) {
    const meant = nearest(command, Object.keys(commands));
    throw new UsageError(
      `there is no command ${command}${meant === undefined ? "." : `, did you mean ${meant}?`} See hubcap --help`,
    );
  }
  const rest = named ? args.slice(1) : [...args];
  if (rest.includes("--help") || rest.includes("-h")) return { kind: "help", command };
  return { kind: "run", command, given: readOptions(command, rest) };
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(commands, word);
}

function readOptions(command: CommandName, args: string[]): Given<CommandName> {
  const { options, operands } = commands[command];
  try {
    return parseArgs({ args, options, allowPositionals: operands !== "" });
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/\.\s.*$/s, "") : String(error);
    throw new UsageError(`${reason}. See hubcap ${command} --help`, { cause: error });
  }
}
