/** Who may pull what: by what clients prove who they are, and the rules that go by it. */
import { z } from "zod";
import { credentialFile } from "./files.ts";
import { client, network, repositoryGlob, sourceHost } from "./values.ts";

const token = z.strictObject({
  name: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]*$/, { error: "a name of letters, digits and . _ -" })
    .describe("What rules call it: `token:NAME`."),
  file: credentialFile().describe(
    "A file with the token, or with several, one per line; followed when it changes.",
  ),
});

/** By what clients prove who they are. */
export const identities = z.strictObject({
  tokens: z
    .array(token)
    .prefault([])
    .describe(
      "Tokens that clients send as `Authorization: Bearer`, or as the password of Basic; each with a `name` and a `file`, which is followed.",
    ),
  htpasswdFile: credentialFile()
    .exactOptional()
    .describe("A file with lines of `user:hash`, made by `htpasswd -B`; followed when it changes."),
  trustedProxies: z
    .array(network())
    .prefault([])
    .describe("Networks of proxies whose `X-Forwarded-For` is believed; nobody else's is."),
  challenge: z
    .enum(["denied", "always"])
    .prefault("denied")
    .describe(
      "Who is asked for a credential with 401: those without one who are denied something, or with `always` everybody at `/v2/` too, for clients that show none before (podman, CRI-O, skopeo); Docker Engine's mirrors then stop working.",
    ),
});

const rule = z.strictObject({
  who: z
    .array(client())
    .describe(
      "Whom the rule is for: any of `token:NAME`, `user:NAME`, `certificate:NAME`, `network:CIDR`, or `*`.",
    ),
  upstream: z
    .union([z.literal("*"), sourceHost()])
    .prefault("*")
    .describe("The source host, or `*` for all."),
  repositories: z
    .array(repositoryGlob())
    .prefault(["**"])
    .describe("Globs over names without the host, where `*` stands for a part and `**` for parts."),
  allow: z.enum(["pull", "deny"]).describe("What happens."),
});

/** The rules, in order. */
export const access = z
  .array(rule)
  .exactOptional()
  .describe(
    "Rules of who may pull what; the first that fits counts, and where none does, public repositories are for everybody and private ones for nobody. Without this setting, empty or not, everybody who reaches the mirror endpoint may pull all that the shared accounts may.",
  );
