/** The section `limits`: what clients may ask of Hubcap itself. */
import { z } from "zod";

const misses = z.strictObject({
  burst: z
    .int()
    .min(1)
    .prefault(50)
    .describe(
      "How many requests that the upstream answers with 404, 401 or 403 one client may cause in a burst; one that succeeds counts a hundredth.",
    ),
  perMinute: z.number().positive().prefault(60).describe("How many more are allowed each minute."),
});

export const limits = z.strictObject({
  connections: z
    .int()
    .min(1)
    .prefault(10_000)
    .describe("How many connections a listener accepts at the same time."),
  connectionsPerAddress: z
    .int()
    .min(1)
    .prefault(2500)
    .describe(
      "How many of them may come from one address; behind a load balancer, that is all of its clients. Beyond it, a new one takes the place of the longest idle one.",
    ),
  streamsPerClient: z
    .int()
    .min(1)
    .prefault(2500)
    .describe(
      "How many blobs are sent to one client at the same time; a client is an address and a name together, and what it has proven. All names of an address get eight times as many.",
    ),
  misses: misses
    .prefault({})
    .describe(
      "How many requests to upstreams one client may cause for what is not held; what is held is never limited.",
    ),
});
