/** With which options of Node Hubcap runs: the same at `npm start`, in the image, and here. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { young } from "../support/hubcap.ts";

test("everybody starts Hubcap with the same room for new objects", () => {
  expect(packageJson.scripts.start).toContain(` exec node ${young} src/main.ts serve`);
  expect(readFileSync("Dockerfile", "utf8")).toContain(` NODE_OPTIONS=${young} `);
});
