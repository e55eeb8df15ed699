/** `WWW-Authenticate`, as upstreams send it. */
import { parseChallenges } from "../../../src/upstream/auth/authority.ts";
import { must, type FuzzTarget } from "../fuzzTarget.ts";

export const challenge: FuzzTarget = {
  seeds: [
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull"',
    'Basic realm="a \\"quoted\\" one", Bearer realm=bare, error="invalid_token"',
    "Negotiate, NTLM TlRMTVNTUAAB==",
    'Bearer realm = "x',
  ],
  run(data) {
    const all = parseChallenges(data.toString("latin1").split("\n"));
    must(all.length <= 16, "there are no more than 16");
    for (const { scheme, parameters } of all) {
      must(scheme !== "" && scheme === scheme.toLowerCase(), "a scheme is in lower case");
      for (const name of parameters.keys()) must(name === name.toLowerCase(), "names are in lower case");
    }
  },
};
