/** The address guard: which IP addresses an upstream may not lead us to, by numeric range. */
import { BlockList, isIP } from "node:net";

// IANA "IPv4 Special-Purpose Address Registry", and multicast and reserved space.
const blocked4 = blockList("ipv4", [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
]);

// Only 2000::/3 is handed out for global use (RFC 4291 2.4); these are the parts of it that are special.
const global6 = blockList("ipv6", ["2000::/3"]);
const blocked6 = blockList("ipv6", ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"]);

// Two ranges are IPv4 in other clothes, and judged by the address within: IPv4-mapped (RFC 4291 2.5.5.2) and the NAT64
// prefix (RFC 6052 2.1), by which an IPv6-only cluster reaches registries that have only IPv4.
const carriers = blockList("ipv6", ["::ffff:0:0/96", "64:ff9b::/96"]);

/** Whether `address`, an IP literal without brackets, is anything but a public unicast address. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return blocked4.check(address, "ipv4");
  if (family !== 6 || address.includes("%")) return true;
  if (carriers.check(address, "ipv6")) return blocked4.check(lastFour(address), "ipv4");
  return !global6.check(address, "ipv6") || blocked6.check(address, "ipv6");
}

// Only this machine: what listens here trusts its neighbours. Linux takes 0.0.0.0 and :: for the same.
const here4 = blockList("ipv4", ["0.0.0.0/8", "127.0.0.0/8"]);
const here6 = blockList("ipv6", ["::/127"]);

// Link-local addresses, where clouds keep their instances' credentials, and the other addresses at which some do.
const never4 = blockList("ipv4", [
  "169.254.0.0/16",
  "100.100.100.200/32",
  "168.63.129.16/32",
  "192.0.0.192/32",
]);
const never6 = blockList("ipv6", ["fe80::/10", "fec0::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]);

/** Whether `address`, an IP literal without brackets, is one of this machine alone. */
export function isLoopback(address: string): boolean {
  return isIn(address, here4, here6);
}

/** Whether `address`, an IP literal without brackets, is link-local or serves a cloud's metadata: no registry is there. */
export function isLinkLocal(address: string): boolean {
  return isIn(address, never4, never6);
}

function isIn(address: string, ranges4: BlockList, ranges6: BlockList): boolean {
  if (isIP(address) === 4) return ranges4.check(address, "ipv4");
  const [plain = ""] = address.split("%");
  if (carriers.check(plain, "ipv6")) return ranges4.check(lastFour(plain), "ipv4");
  return ranges6.check(plain, "ipv6");
}

/** The IPv4 address in the last 32 bits of an IPv6 address. */
function lastFour(address: string): string {
  // URL spells every IPv6 address in groups of hex digits (WHATWG URL, "IPv6 serializer").
  const groups = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const tail = (groups.at(-1) ?? "").split(":").filter((group) => group !== "");
  const [high = 0, low = 0] = ["0", "0", ...tail].slice(-2).map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

function blockList(family: "ipv4" | "ipv6", ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [network = "", prefix] = range.split("/");
    list.addSubnet(network, Number(prefix), family);
  }
  return list;
}
