/** The kinds of value a setting can have: how each is written, and what it becomes on loading. */
import { isIP } from "node:net";
import { z } from "zod";
import { parsePattern, parseRepositoryGlob, patternExpected } from "../oci/pattern.ts";
import { parsePlatform, platformExpected, platformGrammar } from "../oci/platform.ts";
import { sourceHostGrammar } from "../oci/target.ts";
import { Secret } from "./secret.ts";
import { durationGrammar, parseDuration, parseShare, parseSize, shareGrammar, sizeGrammar } from "./units.ts";

/** An address to listen on. Port 0 lets the system choose one. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** A duration; becomes milliseconds. The bounds, both allowed, are written as durations too. */
export function duration(bounds: { min?: string; max?: string } = {}) {
  const min = parseDuration(bounds.min ?? "0s") ?? 0;
  const max = parseDuration(bounds.max ?? "") ?? Number.MAX_SAFE_INTEGER;
  const limits = [
    bounds.min === undefined ? "" : `, at least ${bounds.min}`,
    bounds.max === undefined ? "" : `, at most ${bounds.max}`,
  ];
  return written(
    "duration",
    durationGrammar,
    `a duration such as 250ms, 5m or 30d${limits.join("")}`,
    (text) => {
      const length = parseDuration(text);
      return length !== undefined && length >= min && length <= max ? length : undefined;
    },
  );
}

/** A size; becomes bytes. The least, itself allowed, is written as a size too. */
export function size(least = "0B") {
  const min = parseSize(least) ?? 0;
  const limit = min === 0 ? "" : `, at least ${least}`;
  return written("size", sizeGrammar, `a size such as 50GiB or 500MB${limit}`, (text) => {
    const bytes = parseSize(text);
    return bytes !== undefined && bytes >= min ? bytes : undefined;
  });
}

/** A share of a whole; becomes a fraction from 0 to 1. */
export function share() {
  return written("share", shareGrammar, "a share from 0% to 100%", parseShare);
}

/** An address to listen on; becomes host and port. */
export function listen() {
  const grammar = /^(?:\[([0-9a-fA-F:.]+)\]|([a-zA-Z0-9.-]+)):(\d{1,5})$/;
  return written(
    "address",
    grammar,
    "an address and port such as 0.0.0.0:5000 or [::]:5000",
    (text): Listen | undefined => {
      const [, six, host, port] = grammar.exec(text) ?? [];
      return Number(port) <= 65_535 ? { host: six ?? host ?? "", port: Number(port) } : undefined;
    },
  );
}

/** The name of a registry as it stands in image names. Clients' names are looked up in lower case and without `:443`. */
export function sourceHost() {
  const expected =
    "a lower-case host as in image names, such as ghcr.io or harbor.example:8443, without :443";
  return written("host", sourceHostGrammar, expected, (text) => text);
}

/** A pattern of images, in the grammar of oci/pattern. */
export function imagePattern() {
  return written("image pattern", /./, patternExpected, parsePattern);
}

/** A pattern of repositories: one of images that asks for neither tag nor digest. */
export function repositoryPattern() {
  const expected = "repositories with their source host, such as ghcr.io/org/**, without tag and digest";
  return written("repository pattern", /./, expected, (text) => {
    const pattern = parsePattern(text);
    return pattern?.tag || pattern?.digest ? undefined : pattern;
  });
}

/** A platform as images name it; without a variant, any will do. */
export function platform() {
  return written("platform", platformGrammar, platformExpected, parsePlatform);
}

/** A regular expression, which matches anywhere unless it is anchored, as cosign's do. */
export function expression() {
  return written("regular expression", /./, "a regular expression", (text) => {
    try {
      return new RegExp(text);
    } catch {
      return undefined;
    }
  });
}

/** Scheme, host and port of a web server; becomes its canonical spelling. */
export function origin() {
  const expected = "an origin such as https://registry.example, without path, user or query";
  return written("origin", /^https?:\/\//, expected, (text) => {
    const url = URL.parse(text);
    return url !== null && url.href === `${url.origin}/` ? url.origin : undefined;
  });
}

/** The address of a service; never with a user or a query, which could be secret. */
export function serviceUrl() {
  const expected = "an address such as http://collector.example:4318, without user and query";
  return written("URL", /^https?:\/\//, expected, (text) => {
    const url = URL.parse(text);
    const isPlain = url !== null && url.username === "" && url.password === "" && url.search === "";
    return isPlain && url.hash === "" ? url.href : undefined;
  });
}

/** A secret in the configuration itself. */
export function secret() {
  return written("secret", /./, "text in quotes", (text) => new Secret(text));
}

/** A network, or one address of it. */
export interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/** The clients that a rule is for. */
export type Client =
  | { readonly kind: "everybody" }
  | { readonly kind: "token" | "user"; readonly name: string }
  | { readonly kind: "certificate"; readonly name: string }
  | ({ readonly kind: "network" } & Network);

/** An IP network such as 10.0.0.0/8; an address alone is a network of one. */
export function network() {
  return written("network", /./, "a network such as 10.0.0.0/8 or 2001:db8::/32", readNetwork);
}

/** The clients that a rule is for, in one word. */
export function client() {
  const expected = "token:NAME, user:NAME, certificate:NAME, network:CIDR, or * for everybody";
  return written("client", /./, expected, (text): Client | undefined => {
    if (text === "*") return { kind: "everybody" };
    const [, kind, name = ""] = /^(token|user|certificate|network):(\S+)$/.exec(text) ?? [];
    if (kind === "certificate") return { kind, name };
    if (kind === "token" || kind === "user") return { kind, name };
    const network = kind === "network" ? readNetwork(name) : undefined;
    return network && { kind: "network", ...network };
  });
}

/** A glob over names of repositories, which come without a host. */
export function repositoryGlob() {
  const expected = "a glob over repositories without the host, such as library/* or team/**";
  return written("repository glob", /./, expected, (text) =>
    parseRepositoryGlob(text) === undefined ? undefined : text,
  );
}

function readNetwork(text: string): Network | undefined {
  const [address = "", length, ...more] = text.split("/");
  const version = isIP(address);
  if (version === 0 || more.length > 0 || !/^\d{1,3}$/.test(length ?? "0")) return undefined;
  const most = version === 4 ? 32 : 128;
  const prefix = length === undefined ? most : Number(length);
  return prefix <= most ? { address, prefix, family: version === 4 ? "ipv4" : "ipv6" } : undefined;
}

/**
 * A value that is written as text. Text that does not match the grammar, or that `read` has no value for, is an issue
 * with the one sentence that says what was expected.
 */
export function written<Value>(
  type: string,
  grammar: RegExp,
  expected: string,
  read: (text: string) => Value | undefined,
) {
  return z
    .string({ error: expected })
    .regex(grammar, { error: expected })
    .transform((text, context) => {
      const value = read(text);
      if (value !== undefined) return value;
      context.addIssue({ code: "custom", message: expected });
      return z.NEVER;
    })
    .meta({ "x-type": type });
}
