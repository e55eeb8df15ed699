/** Which pairs of certificate and key are served, and which are not taken in the place of a good one. */
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SecureContextOptions } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../../src/async/clock.ts";
import { CertificateError, Certificates } from "../../../src/http/certificates.ts";
import { makeAuthority, type KeyAndCertificate } from "../../support/certificates.ts";

const authority = makeAuthority();
const day = 24 * 60 * 60 * 1000;
const first = authority.issue({ names: ["first.test"] });
const second = authority.issue({ names: ["second.test"] });
const expired = authority.issue({
  names: ["expired.test"],
  notBefore: new Date(Date.now() - 2 * day),
  notAfter: new Date(Date.now() - day),
});
const future = authority.issue({ names: ["future.test"], notBefore: new Date(Date.now() + day / 2) });

async function emptyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hubcap-certificates-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

async function write(folder: string, { cert, key }: KeyAndCertificate): Promise<void> {
  await writeFile(join(folder, "tls.crt"), cert);
  await writeFile(join(folder, "tls.key"), key);
}

interface Opened {
  readonly certificates: Certificates;
  /** What has happened, in one word each. */
  readonly events: string[];
  readonly renewed: SecureContextOptions[];
}

async function open(folder: string, clientCaFile?: string): Promise<Opened> {
  const events: string[] = [];
  const renewed: SecureContextOptions[] = [];
  const certificates = await Certificates.open({
    files: {
      certificateFile: join(folder, "tls.crt"),
      keyFile: join(folder, "tls.key"),
      ...(clientCaFile !== undefined && { clientCaFile }),
    },
    events: {
      renewed: () => events.push("renewed"),
      refused: ({ message }) => events.push(`refused: ${message}`),
      restored: () => events.push("restored"),
    },
    clock: systemClock,
  });
  certificates.follow((context) => renewed.push(context));
  onTestFinished(() => certificates.close());
  return { certificates, events, renewed };
}

/** Looks often enough for whatever is there to be judged. */
async function settle({ certificates }: Opened): Promise<void> {
  await certificates.look();
  await certificates.look();
}

const flawed: readonly (readonly [string, Partial<KeyAndCertificate>, string])[] = [
  ["a key of another certificate", { key: second.key }, "the private key of the certificate in"],
  ["an expired certificate", expired, "still good"],
  ["a certificate that is not good yet", future, "good already"],
  ["half a certificate", { cert: first.cert.slice(0, 200) }, "a whole PEM certificate"],
  ["half a key", { key: first.key.slice(0, 60) }, "a whole PEM private key"],
  ["an empty file", { cert: "" }, "a whole PEM certificate"],
  [
    "a chain that breaks off",
    { cert: first.cert + authority.cert.slice(0, 100) },
    "a chain of certificates that TLS can use",
  ],
];

describe("at the start", () => {
  test.each(flawed)("%s is an error that says what should be there", async (_, part, expected) => {
    const folder = await emptyFolder();
    await write(folder, { ...first, ...part });
    const opening = open(folder);
    await expect(opening).rejects.toThrow(CertificateError);
    await expect(opening).rejects.toThrow(expected);
    await expect(opening).rejects.not.toThrow("PRIVATE KEY-");
  });

  test("so are clients' authorities that are none", async () => {
    const folder = await emptyFolder();
    await write(folder, first);
    const ca = join(folder, "ca.crt");
    for (const text of ["", first.key, authority.cert + first.cert.slice(0, 100)]) {
      await writeFile(ca, text);
      await expect(open(folder, ca)).rejects.toMatchObject({ file: "clientCaFile" });
    }
    await writeFile(ca, `# ours\n${authority.cert}\n${makeAuthority().cert}`);
    await open(folder, ca);
  });
});

describe("while it serves", () => {
  test("a new pair is used once it is no longer being written", async () => {
    const folder = await emptyFolder();
    await write(folder, first);
    const opened = await open(folder);
    await writeFile(join(folder, "tls.crt"), second.cert);
    await opened.certificates.look();
    await writeFile(join(folder, "tls.key"), second.key);
    await opened.certificates.look();
    // Half of it was never checked, so nothing was reported.
    expect(opened.events).toEqual([]);
    await opened.certificates.look();
    expect(opened.events).toEqual(["renewed"]);
    expect(opened.renewed.map(({ cert }) => String(cert))).toEqual([second.cert]);
    expect(opened.renewed[0]).toMatchObject({ minVersion: "TLSv1.2" });
  });

  test("a link two folders up that moves brings a new pair, as Kubernetes does it", async () => {
    const folder = await emptyFolder();
    for (const [version, pair] of [
      ["..1", first],
      ["..2", second],
    ] as const) {
      await mkdir(join(folder, version));
      await write(join(folder, version), pair);
    }
    await symlink("..1", join(folder, "..data"));
    for (const name of ["tls.crt", "tls.key"]) await symlink(join("..data", name), join(folder, name));
    const opened = await open(folder);
    await symlink("..2", join(folder, "..new"));
    await rename(join(folder, "..new"), join(folder, "..data"));
    await settle(opened);
    expect(opened.events).toEqual(["renewed"]);
  });

  test.each(flawed)("%s does not replace a good one, and is reported once", async (_, part, expected) => {
    const folder = await emptyFolder();
    await write(folder, first);
    const opened = await open(folder);
    const before = opened.certificates.notAfter;
    await write(folder, { ...first, ...part });
    await settle(opened);
    await settle(opened);
    expect(opened.events).toEqual([expect.stringContaining(expected)]);
    expect(String(opened.certificates.context.cert)).toBe(first.cert);
    expect(opened.certificates.notAfter).toEqual(before);
    await write(folder, first);
    await settle(opened);
    expect(opened.events.slice(1)).toEqual(["restored"]);
    await write(folder, second);
    await settle(opened);
    expect(opened.events.slice(2)).toEqual(["renewed"]);
  });

  test("files that are gone leave what was read", async () => {
    const folder = await emptyFolder();
    await write(folder, first);
    const opened = await open(folder);
    await rm(join(folder, "tls.key"));
    await settle(opened);
    expect(opened.events).toEqual([expect.stringContaining("cannot be read")]);
    expect(opened.certificates.context.key).toEqual(Buffer.from(first.key));
  });
});
