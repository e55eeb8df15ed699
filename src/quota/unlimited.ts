import type { Bucket } from "./quota.ts";
/** TEMPORARY */
export const unlimited: Bucket = {
  take: async () => ({ answered: () => {}, failed: () => {} }),
  learnToken: () => {},
};
