/** `Link`, as upstreams send it. */
import { nextLink } from "../../../src/upstream/pages.ts";
import { must, type FuzzTarget } from "../fuzzTarget.ts";

const base = new URL("https://registry.example/v2/library/nginx/tags/list");

export const link: FuzzTarget = {
  seeds: [
    '</v2/library/nginx/tags/list?last=1&n=100>; rel="next"',
    '<https://elsewhere.example/x>; rel=prev, <?n=2>; title="a, b"; rel="last next"',
    "<>;rel=next",
    "<<</x>;rel=next;rel",
  ],
  run(data) {
    const found = nextLink(data.toString("latin1"), base);
    must(found === undefined || URL.canParse(found.href), "an address is one");
  },
};
