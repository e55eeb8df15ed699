/** What the image's build compiles ahead. */
import { globSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { expect, test } from "vitest";

test("the image has all compiled that a running Hubcap imports later", () => {
  const [, list = ""] = /for \(const file of (\[[^\]]+\])\)/.exec(readFileSync("Dockerfile", "utf8")) ?? [];
  const compiled = JSON.parse(list) as string[];
  const later = globSync("src/**/*.ts")
    .filter((file) => file !== "src/main.ts" && !file.startsWith("src/cli/"))
    .flatMap((file) =>
      [...readFileSync(file, "utf8").matchAll(/\b(?:await import|new URL)\("(\.?[^":]+\.ts)"/g)].map(
        ([, path = ""]) => relative("src", resolve(dirname(file), path)),
      ),
    );
  expect(later).toContain("http/api/api.ts");
  expect(later).toContain("store/sqlite/checkpointThread.ts");
  expect(compiled.map((file) => `${file}.ts`)).toEqual(expect.arrayContaining(later));
});
