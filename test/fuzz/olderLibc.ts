/**
 * Preloaded into the fuzzer: its binary asks for glibc 2.38 and GCC 13's libstdc++ for the sake of three functions.
 * `__isoc23_strtol` and `__isoc23_strtoul` read the fuzzer's own options, and older systems have them as `strtol` and
 * `strtoul`; `_ZSt21ios_base_library_initv` is only named and never called. There, a copy is loaded that asks for less.
 */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const prefix = "__isoc23_";
const neverCalled = "_ZSt21ios_base_library_initv";
/** What is asked for, and what the same library has had for long. */
const versions: readonly (readonly [newer: string, base: string])[] = [
  ["GLIBC_2.38", "GLIBC_2.2.5"],
  ["GLIBCXX_3.4.32", "GLIBCXX_3.4"],
];

// ELF64 little endian, from /usr/include/elf.h: types of sections, and where things are in a header of one.
const types = { dynsym: 11, verneed: 0x6ffffffe };

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

/** The sections of an ELF file. */
function sectionsOf(elf: Buffer): Section[] {
  const table = Number(elf.readBigUInt64LE(0x28));
  const [size, count] = [elf.readUInt16LE(0x3a), elf.readUInt16LE(0x3c)];
  return Array.from({ length: count }, (_, at) => {
    const header = table + at * size;
    return {
      type: elf.readUInt32LE(header + 4),
      offset: Number(elf.readBigUInt64LE(header + 0x18)),
      size: Number(elf.readBigUInt64LE(header + 0x20)),
      link: elf.readUInt32LE(header + 0x28),
    };
  });
}

/** A copy of a library that asks for what any glibc has. */
export function forOlderLibc(library: Buffer): Buffer {
  const elf = Buffer.from(library);
  const sections = sectionsOf(elf);
  const found = (type: number): readonly [section: Section, strings: number] => {
    const section = sections.find((each) => each.type === type);
    const strings = section && sections[section.link];
    if (!section || !strings) throw new Error("not a shared library");
    return [section, strings.offset];
  };
  const text = (at: number): string => elf.toString("latin1", at, elf.indexOf(0, at));
  const [symbols, names] = found(types.dynsym);
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += 24) {
    const name = elf.readUInt32LE(at);
    // The name without its prefix is the end of the same string.
    if (text(names + name).startsWith(prefix)) elf.writeUInt32LE(name + prefix.length, at);
    // Binding "weak": it need not be there.
    if (text(names + name) === neverCalled) elf.writeUInt8(0x20 | (elf.readUInt8(at + 4) & 0xf), at + 4);
  }
  const [needs, spelt] = found(types.verneed);
  for (let at = needs.offset, more = true; more;) {
    const next = elf.readUInt32LE(at + 12);
    const wanted: { at: number; version: string }[] = [];
    for (let aux = at + elf.readUInt32LE(at + 8), left = elf.readUInt16LE(at + 2); left > 0; left -= 1) {
      wanted.push({ at: aux, version: text(spelt + elf.readUInt32LE(aux + 8)) });
      aux += elf.readUInt32LE(aux + 12);
    }
    for (const pair of versions) {
      const [to, from] = pair.map((version) => wanted.find((each) => each.version === version));
      if (!from || !to) continue;
      // Its hash and its name.
      elf.copy(elf, to.at, from.at, from.at + 4);
      elf.copy(elf, to.at + 8, from.at + 8, from.at + 12);
    }
    more = next !== 0;
    at += next;
  }
  return elf;
}

/** Whether this system's glibc is too old for the library as it is; false where there is none. */
function isOlder(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const [major = 0, minor = 0] = (header.glibcVersionRuntime ?? "").split(".").map(Number);
  return major === 2 && minor < 38;
}

if (isOlder()) {
  let copy: string | undefined;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      const resolved = nextResolve(specifier, context);
      if (!/@jazzer\.js\/fuzzer\/prebuilds\/.*-linux-.*\.node$/.test(resolved.url)) return resolved;
      if (copy === undefined) {
        copy = join(mkdtempSync(join(tmpdir(), "hubcap-fuzzer-")), "fuzzer.node");
        writeFileSync(copy, forOlderLibc(readFileSync(fileURLToPath(resolved.url))));
      }
      return { ...resolved, url: pathToFileURL(copy).href };
    },
  });
}
