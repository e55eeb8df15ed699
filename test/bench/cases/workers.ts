/** Hits on two cores against hits on one. */
import type { Case } from "../lab.ts";

export const workers: Case = {
  name: "workers",
  run: async () => [
    { what: "both cores: hits of two processes against one", verdict: "skipped", why: "not built yet" },
  ],
};
