/** The proxy that a container runtime would use, as Go reads it from the environment (golang.org/x/net/http/httpproxy). */
import { BlockList, isIP } from "node:net";

type Environment = Readonly<Record<string, string | undefined>>;

/** The proxy for requests to `url`, and the variable that names it; undefined when they go straight. */
export function proxyFor(
  url: URL,
  env: Environment,
): { readonly url: URL; readonly variable: string } | undefined {
  const variable = url.protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const text = env[variable] || env[variable.toLowerCase()];
  if (!text || isExempt(url, env["NO_PROXY"] || env["no_proxy"] || "")) return undefined;
  const proxy = URL.parse(/^\w+:\/\//.test(text) ? text : `http://${text}`);
  return proxy ? { url: proxy, variable } : undefined;
}

function isExempt(url: URL, noProxy: string): boolean {
  if (isLoopback(url)) return true;
  const host = hostOf(url);
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return noProxy.split(/[\s,]+/).some((entry) => entry !== "" && matches(entry.toLowerCase(), host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  if (entry.includes("/")) return isWithin(host, entry);
  const [, name = entry, only] = /^(.+?)(?::(\d+))?$/.exec(isIP(entry) === 6 ? `[${entry}]` : entry) ?? [];
  if (only !== undefined && only !== port) return false;
  const bare = name.replace(/^\*?\./, "").replace(/^\[|\]$/g, "");
  // A leading dot means only what is below.
  return host.endsWith(`.${bare}`) || (host === bare && !/^\*?\./.test(name));
}

/** Is it this machine? */
export function isLoopback(url: URL): boolean {
  const host = hostOf(url);
  return host === "localhost" || isWithin(host, "127.0.0.0/8") || host === "::1";
}

function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, "").toLowerCase();
}

function isWithin(host: string, range: string): boolean {
  const [network = "", prefix] = range.split("/");
  const [family, other] = [isIP(host), isIP(network)];
  if (family === 0 || family !== other) return false;
  const list = new BlockList();
  const kind = family === 4 ? "ipv4" : "ipv6";
  try {
    list.addSubnet(network, Number(prefix), kind);
  } catch {
    return false;
  }
  return list.check(host, kind);
}
