/** docs/troubleshooting.md has an anchor for each verdict of `hubcap doctor`, and leads to no other. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { errorReasons } from "../../../src/oci/error.ts";
import { verdicts } from "../../../src/cli/doctor/verdicts.ts";

const page = readFileSync(new URL("../../../docs/troubleshooting.md", import.meta.url), "utf8");
const codes = new Set(Object.keys(verdicts));

test("each verdict has its section, and each section is a verdict", () => {
  const sections = [...page.matchAll(/^### (\S+)$/gm)].map(([, code]) => code);
  expect(sections).toHaveLength(codes.size);
  expect(new Set(sections)).toEqual(codes);
});

test("each cause of a failure is reached from a text that a kubelet shows", () => {
  const linked = new Set([...page.matchAll(/\]\(#([^)]+)\)/g)].map(([, code]) => code));
  const works = ["ok", "mirror-disk"];
  expect(new Set([...linked, ...works])).toEqual(codes);
});

test("the table of reasons is the one that errors carry", () => {
  const [, section = ""] = /\n## Reasons for programs\n(.+?)\n## /s.exec(page) ?? [];
  const rows = [...section.matchAll(/^\| `(\S+)` \| (.+) \|$/gm)].map(([, reason, meaning]) => [
    reason,
    meaning,
  ]);
  expect(Object.fromEntries(rows)).toEqual(errorReasons);
});
