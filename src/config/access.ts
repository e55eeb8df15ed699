/** Who may pull what: by what clients prove who they are, and the rules that go by it. */
import { z } from "zod";
import { credentialFile } from "./files.ts";
import { client, network, repositoryGlob, sourceHost } from "./values.ts";

const token = z.strictObject({
  name: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]*$/, { error: "a name of letters, digits and . _ -" })
    .describe("The name that rules use: `token:NAME`."),
  file: credentialFile().describe(
    "A file with the token, or with several, one per line; reread when it changes.",
  ),
});

/** By what clients prove who they are. */
export const identities = z.strictObject({
  tokens: z
    .array(token)
    .prefault([])
    .describe(
      "Tokens that clients send as `Authorization: Bearer`, or as the password of Basic; each with a `name` and a `file`, which is reread when it changes.",
    ),
  htpasswdFile: credentialFile()
    .exactOptional()
    .describe("A file with lines of `user:hash`, made by `htpasswd -B`; reread when it changes."),
  trustedProxies: z
    .array(network())
    .prefault([])
    .describe("Networks of proxies whose `X-Forwarded-For` is trusted; all others' is ignored."),
  challenge: z
    .enum(["denied", "always"])
    .prefault("denied")
    .describe(
      "When 401 asks a client for a credential: with `denied`, when one without a credential is denied something; with `always`, at `/v2/` too, for clients that send none before (podman, CRI-O, skopeo), but Docker Engine cannot use such a mirror.",
    ),
});

const rule = z.strictObject({
  who: z
    .array(client())
    .describe(
      "The clients that the rule is for: any of `token:NAME`, `user:NAME`, `certificate:NAME`, `network:CIDR`, or `*`.",
    ),
  upstream: z
    .union([z.literal("*"), sourceHost()])
    .prefault("*")
    .describe("The source host, or `*` for all."),
  repositories: z
    .array(repositoryGlob())
    .prefault(["**"])
    .describe(
      "Globs over repository names without the host, where `*` stands for one path component and `**` for any number.",
    ),
  allow: z.enum(["pull", "deny"]).describe("Whether pulls are allowed or denied."),
});

/** The rules, in order. */
export const access = z
  .array(rule)
  .exactOptional()
  .describe(
    "Rules of which clients may pull what; the first that matches counts, and where none does, public repositories are open to all clients and private ones to none. Without this setting, which may be an empty list, every client that reaches the mirror endpoint may pull all that the shared accounts may.",
  );
