/** The commands of `hubcap`: what each is for and which options it takes. What they do is in `main.ts`. */
import type { parseArgs } from "node:util";

/** An option, as `parseArgs` of node:util takes it, with a word for its value and a sentence for people. */
export interface Option {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly value?: string;
  readonly description: string;
}

/** A command, as its help shows it. */
export interface Command {
  readonly summary: string;
  /** What follows the options, such as `IMAGE`; empty for a command without operands. */
  readonly operands: string;
  readonly options: Readonly<Record<string, Option>>;
  readonly example: string;
}

/** All commands; `hubcap --help` lists them in this order. */
export const commands = {
  serve: {
    summary: "Run the mirror. This is what `hubcap` does without a command.",
    operands: "",
    options: {
      config: {
        type: "string",
        short: "c",
        value: "FILE",
        description: "The configuration; the shipped config/hubcap.yaml unless given.",
      },
    },
    example: "hubcap serve --config /etc/hubcap/hubcap.yaml",
  },
} as const satisfies Readonly<Record<string, Command>>;

export type CommandName = keyof typeof commands;

/** What the command line gives to a command. */
export type Given<Name extends CommandName> = ReturnType<
  typeof parseArgs<{ options: (typeof commands)[Name]["options"]; allowPositionals: true }>
>;
