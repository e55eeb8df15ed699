/** What stands in for tests that need something which this machine lacks. */
import { it } from "vitest";

/** One skip that says why; on CI, where everything is installed and allowed, one failure. */
export function missing(reason: string): void {
  it("is there", (context) => {
    if (process.env["CI"] === "true") throw new Error(reason);
    context.skip(reason);
  });
}
