/** What README.md tells people to write on their nodes is what the clients are tested with. */
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";

it.each(["hosts.toml", "registries.conf", "daemon.json"])("README.md shows the tested %s", async (name) => {
  const readme = await readFile(new URL("../../README.md", import.meta.url), "utf8");
  const tested = await readFile(new URL(`nodes/${name}`, import.meta.url), "utf8");
  expect(readme).toContain(tested);
});
