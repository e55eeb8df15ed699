/** An entry of the ledger as one pull of a node makes it. */
import type { LedgerEntry } from "../../src/quota/ledger.ts";

/** Spent at `time` by both clocks, unless `more` says otherwise. */
export function ledgerEntry(time: number, more: Partial<LedgerEntry> = {}): LedgerEntry {
  return {
    bucket: "docker.io",
    upstream: "docker.io",
    repository: "library/nginx",
    client: "node-1",
    payer: "127.0.0.1 node-1",
    userAgent: "containerd/2.3.4",
    reason: "pull",
    cost: 1,
    time,
    at: time,
    ...more,
  };
}
