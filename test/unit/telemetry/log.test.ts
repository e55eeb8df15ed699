import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child } from "../../support/child.ts";

const log = fileURLToPath(new URL("../../../src/telemetry/log.ts", import.meta.url));

test("S29: whatever a value holds, a log line is one line of JSON without a control character", async () => {
  const every = String.fromCharCode(...Array(0xa0).keys(), 0x2028, 0x2029, 0xfeff);
  const program = `import { openLog } from ${JSON.stringify(log)};
    openLog("info").info({ text: ${JSON.stringify(every)} }, "x");`;
  const child = new Child(["--input-type=module", "--eval", program], process.env);
  await child.exit;
  expect(child.lines).toHaveLength(1);
  const [line = ""] = child.lines;
  expect(line).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
  expect(JSON.parse(line)).toMatchObject({ level: "info", text: every, msg: "x" });
});
