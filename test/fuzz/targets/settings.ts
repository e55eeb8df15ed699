/** What operators write: hosts, addresses, durations, sizes and the rest of the configuration's grammars. */
import * as values from "../../../src/config/values.ts";
import { must, type FuzzTarget } from "../fuzzTarget.ts";

const grammars = [
  values.sourceHost(),
  values.origin(),
  values.serviceUrl(),
  values.listen(),
  values.duration({ min: "1s", max: "1h" }),
  values.size("1kB"),
  values.share(),
  values.platform(),
  values.repositoryPattern(),
  values.repositoryGlob(),
  values.network(),
  values.client(),
];

export const settings: FuzzTarget = {
  seeds: [
    "harbor.example:8443",
    "https://registry.example",
    "http://collector.example:4318/v1",
    "[::]:5000",
    "1.5h",
    "90 %",
    "50GiB",
    "linux/arm/v7",
    "docker.io/library/*",
    "10.0.0.0/8",
    "network:fd00::/8",
    "certificate:*.nodes.example",
  ],
  run(data) {
    const text = data.toString("latin1");
    for (const grammar of grammars) {
      const { success, error } = grammar.safeParse(text);
      must(success || error.issues.length > 0, "what is refused is refused for a reason");
    }
  },
};
