import { expect, test } from "vitest";
import { isLinkLocal, isLoopback, isPrivateAddress } from "../../../../src/upstream/net/address.ts";

test.each([
  // IPv4 in all its reserved ranges, first and last.
  "0.0.0.0",
  "0.255.255.255",
  "10.0.0.1",
  "10.255.255.255",
  "100.64.0.1",
  "100.127.255.255",
  "127.0.0.1",
  "127.255.255.254",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.8",
  "192.168.1.1",
  "198.18.0.1",
  "198.19.255.255",
  "224.0.0.1",
  "239.255.255.255",
  "240.0.0.1",
  "255.255.255.255",
  // IPv6's own.
  "::",
  "::1",
  "fc00::1",
  "fd12:3456::1",
  "fe80::1",
  "fe80::1%eth0",
  "fec0::1",
  "ff02::1",
  "100::1",
  "2001:db8::1",
  "3fff::1",
  "4000::1",
  "5f00::1",
  // IPv4 in IPv6: mapped, compatible, translated, NAT64 (well-known and local), 6to4, Teredo.
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "::ffff:a9fe:a9fe",
  "::ffff:0.0.0.0",
  "::127.0.0.1",
  "::7f00:1",
  "::ffff:0:127.0.0.1",
  "64:ff9b::7f00:1",
  "64:ff9b::a9fe:a9fe",
  "64:ff9b::",
  "64:ff9b::1",
  "64:ff9b:1::1",
  "2002:7f00:1::",
  "2002:0808:0808::",
  "2001:0:53aa:64c::1",
  // Not addresses at all.
  "localhost",
  "",
  "1.2.3",
  "2130706433",
])("%s is not public", (address) => {
  expect(isPrivateAddress(address)).toBe(true);
});

test.each([
  "1.1.1.1",
  "8.8.8.8",
  "100.63.255.255",
  "100.128.0.1",
  "172.15.0.1",
  "172.32.0.1",
  "192.167.1.1",
  "198.17.0.1",
  "198.20.0.1",
  "223.255.255.255",
  "9.255.255.255",
  "11.0.0.1",
  "2606:4700::6810:1",
  "2a00:1450:4001:800::1",
  "2600:1f18::1",
  // A public address behind NAT64 is how an IPv6-only cluster reaches an IPv4-only registry.
  "::ffff:8.8.8.8",
  "64:ff9b::808:808",
  "64:ff9b::8.8.8.8",
])("%s is public", (address) => {
  expect(isPrivateAddress(address)).toBe(false);
});

test.each(["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])(
  "%s is this machine",
  (address) => expect(isLoopback(address)).toBe(true),
);

test.each([
  "169.254.169.254",
  "169.254.170.2",
  "fe80::1",
  "fe80::1%eth0",
  "::ffff:169.254.169.254",
  "64:ff9b::a9fe:a9fe",
  "fd00:ec2::254",
  "fd20:ce::254",
  "100.100.100.200",
  "168.63.129.16",
  "192.0.0.192",
])("%s is link-local or a cloud's metadata", (address) => expect(isLinkLocal(address)).toBe(true));

test.each(["10.0.0.1", "192.168.1.1", "172.16.0.1", "fd12:3456::1", "100.64.0.1", "::2"])(
  "%s may be a registry of one's own",
  (address) => expect([isLoopback(address), isLinkLocal(address)]).toEqual([false, false]),
);
