import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { defineConfig, type TestProjectConfiguration } from "vitest/config";

/** Suites that `npm test` runs. They need nothing but Node, and their files run beside each other: many of them wait. */
const quick = ["unit", "contract", "integration", "fault"];

/** What ends like this belongs to `npm run test:all`, in whichever folder it lies. */
const slow = "test/**/*.slow.test.ts";

/** One suite for each folder, and one for what is slow. Those beyond `npm test` share daemons, so their files take turns. */
const suites = readdirSync("test", { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => ({ name, include: [`test/${name}/**/*.test.ts`], exclude: [slow] }));

const projects: TestProjectConfiguration[] = [...suites, { name: "slow", include: [slow] }].map((suite) => ({
  extends: true,
  test: quick.includes(suite.name)
    ? { ...suite, maxWorkers: availableParallelism() + 1 }
    : { ...suite, maxWorkers: 1, sequence: { groupOrder: 1 } },
}));

export default defineConfig({
  test: {
    projects,
    globalSetup: "test/support/temporaryFiles.ts",
    // Long enough for any machine. Where a time is promised, a test says it itself.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    retry: 0,
    // As Hubcap itself runs (docs/decisions/0010-sendfile.md).
    execArgv: ["--disable-warning=ExperimentalWarning"],
  },
});
