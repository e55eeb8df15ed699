/** What the pages show under a `hubcap client-config` command is what the command prints. */
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { runHubcap } from "../support/run.ts";

const shown = /```sh\nhubcap (client-config (?!.*--write)[^\n]+)\n```\n\n```\w+\n([^`]+)```/g;

it.each([
  ["README.md", 3],
  ["docs/clients.md", 6],
])("%s shows what is printed", async (page, count) => {
  const text = await readFile(new URL(`../../${page}`, import.meta.url), "utf8");
  const examples = [...text.matchAll(shown)];
  expect(examples).toHaveLength(count);
  for (const [, command = "", output] of examples) {
    expect((await runHubcap(command.split(" "))).output).toBe(output);
  }
});
