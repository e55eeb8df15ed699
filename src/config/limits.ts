/** The section `limits`: what clients may ask of Hubcap itself. */
import { z } from "zod";

const misses = z.strictObject({
  burst: z
    .int()
    .min(1)
    .prefault(1000)
    .describe(
      "How many questions that the upstream answers with no a client may cause at once; one that it answers otherwise counts a tenth.",
    ),
  perMinute: z.number().positive().prefault(120).describe("How many of them come back each minute."),
});

export const limits = z.strictObject({
  connections: z.int().min(1).prefault(10_000).describe("How many connections a listener keeps open."),
  connectionsPerAddress: z
    .int()
    .min(1)
    .prefault(5000)
    .describe("How many of them come from one address; behind a load balancer, that is all of its clients."),
  streamsPerClient: z
    .int()
    .min(1)
    .prefault(2500)
    .describe("How many blobs are sent to one client at once; a client is a node's name, else an address."),
  misses: misses
    .prefault({})
    .describe(
      "How much that is not held one client may have asked of upstreams; what is held is never limited.",
    ),
});
