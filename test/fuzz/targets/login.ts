/** What a node, a secret's file or a token service hands in: Docker's config.json, tokens, and traces' headers. */
import { inspect } from "node:util";
import { parentIn } from "../../../src/telemetry/tracing.ts";
import { readDockerLogin } from "../../../src/upstream/auth/dockerConfig.ts";
import { claimsOf } from "../../../src/upstream/auth/acr.ts";
import { must, parts, type FuzzTarget } from "../fuzzTarget.ts";

const auth = Buffer.from("user:pass").toString("base64");

export const login: FuzzTarget = {
  seeds: [
    `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01\na=b,c=d\nx\n{"auths":{"ghcr.io":{"auth":"${auth}"}}}`,
    `\n\ne30.${Buffer.from('{"exp":1}').toString("base64url")}.\n{"auths":{"https://ghcr.io/v2/":{"username":"a","password":"b"}}}`,
    `01-${"ab".repeat(16)}-${"cd".repeat(8)}-ff-more\n\n\n{"auths":{"ghcr.io":{"identitytoken":"t"}}}`,
  ],
  run(data) {
    const [traceparent, tracestate, token = "", config = ""] = parts(data, 4);
    const parent = parentIn({ traceparent, tracestate });
    must(!parent || /^[\da-f]{32}$/.test(parent.traceId), "a trace has its number");
    must(typeof claimsOf(token) === "object", "a token's claims are claims");
    try {
      const { account, secret } = readDockerLogin(config, "ghcr.io");
      must(account !== "" && !inspect(secret).includes("pass"), "a login has a name and shows no secret");
    } catch (error) {
      // It throws plain errors, whose text is shown: of what is in the file, nothing.
      must(error instanceof Error && error.constructor === Error, `what is thrown is ours: ${String(error)}`);
      must(!String(error).includes(auth), "an error quotes nothing");
    }
  },
};
