/** The audit file where nothing is written. */
import { systemClock } from "../../../src/async/clock.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { AuditFile } from "../../../src/telemetry/auditFile.ts";

it("keeps no more in memory than it may while nothing is written", async () => {
  const lost = vi.fn<(lines: number) => void>();
  const folder = mkdtempSync(join(tmpdir(), "hubcap-audit-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = new AuditFile({
    path: join(folder, "audit"),
    clock: systemClock,
    failed: () => {},
    lost,
    recovered: () => {},
  });
  const line = `${"x".repeat(1024 * 1024)}\n`;
  for (let count = 0; count < 20; count++) file.add(line);
  await file.close();
  expect(lost).toHaveBeenCalled();
});
