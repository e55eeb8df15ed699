import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 20_000,
    hookTimeout: 120_000,
    // How long something that is bound to happen is waited for. Where a time is promised, a test says it itself.
    expect: { poll: { timeout: 15_000 } },
    retry: 0,
    // As Hubcap itself runs (docs/decisions/0010-sendfile.md).
    execArgv: ["--disable-warning=ExperimentalWarning"],
  },
});
