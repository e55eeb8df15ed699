/** With which options of Node Hubcap runs: the same at `npm start`, in the image, and here. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { nodeOptions } from "../support/hubcap.ts";

test("everybody starts Hubcap with the same options of Node", () => {
  const options = nodeOptions.join(" ");
  expect(packageJson.scripts.start).toContain(` exec node ${options} src/main.ts serve`);
  expect(readFileSync("Dockerfile", "utf8")).toContain(`ENV NODE_ARGS="${options}"\n`);
});
