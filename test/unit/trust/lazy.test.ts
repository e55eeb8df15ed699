/** The libraries that verify signatures take a few megabytes: they are loaded only if they are needed. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const loaded = `
  import { createRequire } from "node:module";
  const [file] = process.argv.slice(1);
  const { openCosign } = await import(file);
  const names = () => Object.keys(createRequire(file)("node:module")._cache).filter((name) => name.includes("@sigstore"));
  const before = names().length;
  if (openCosign) await openCosign({ name: "verify.0", keys: [], identities: [] });
  console.log(JSON.stringify([before, names().length > 0]));
`;

it.each([
  ["src/serve/serve.ts", [0, false]],
  ["src/trust/cosign.ts", [0, true]],
])("%s loads nothing of sigstore before it is needed", (file, expected) => {
  const path = fileURLToPath(new URL(`../../../${file}`, import.meta.url));
  const said = execFileSync(process.execPath, ["--input-type=module", "-e", loaded, path], {
    encoding: "utf8",
  });
  expect(JSON.parse(said)).toEqual(expected);
});
