/**
 * What `node:26-slim` is to Hubcap's Dockerfile, made from this machine, for places where no image can be pulled: glibc,
 * a shell with a few commands, trusted certificates, Node and npm.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const commands = ["sh", "env", "cp", "mv", "rm", "mkdir", "chown", "chmod", "find"];
const certificates = "/etc/ssl/certs/ca-certificates.crt";

/** Writes the root file system into an empty folder. Both Node and npm are those that run the tests. */
export function writeBase(root: string): void {
  for (const folder of ["tmp", "root", "etc/ssl/certs", "usr/bin", "usr/lib", "usr/lib64", "usr/local/bin"]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  // As Debian has it: one place, under both names.
  for (const folder of ["bin", "lib", "lib64"]) symlinkSync(`usr/${folder}`, join(root, folder));
  for (const name of commands) install(join("/usr/bin", name), join(root, "usr/bin", name), root);
  install(process.execPath, join(root, "usr/local/bin/node"), root);
  installNpm(root);
  copyFileSync(certificates, join(root, certificates));
  writeFileSync(
    join(root, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n",
  );
  writeFileSync(join(root, "etc/group"), "root:x:0:\nnode:x:1000:\n");
  writeFileSync(join(root, "etc/nsswitch.conf"), "hosts: files dns\n");
}

/** A program with the libraries that it is linked against. */
function install(program: string, target: string, root: string): void {
  copyFileSync(program, target);
  const linked = execFileSync("ldd", [program], { encoding: "utf8" });
  for (const [, library = ""] of linked.matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)) {
    const place = join(root, "usr", library.replace(/^\/usr/, ""));
    mkdirSync(dirname(place), { recursive: true });
    copyFileSync(realpathSync(library), place);
  }
}

function installNpm(root: string): void {
  const found = execFileSync("sh", ["-c", "command -v npm"], { encoding: "utf8", env: withoutPackages() });
  const cli = realpathSync(found.trim());
  const folder = join(root, "usr/local/lib/node_modules/npm");
  cpSync(dirname(dirname(cli)), folder, { recursive: true });
  symlinkSync("../lib/node_modules/npm/bin/npm-cli.js", join(root, "usr/local/bin/npm"));
}

/** npm's scripts put the programs of packages before all others on the path. */
function withoutPackages(): NodeJS.ProcessEnv {
  const path = process.env["PATH"]?.split(":").filter((folder) => !folder.includes("node_modules"));
  return { ...process.env, PATH: path?.join(":") };
}

/** npm's settings as they are here, in the form of the Dockerfile's secret: where packages come from is the machine's matter. */
export function npmSettings(): string {
  const registry = execFileSync("npm", ["config", "get", "registry"], {
    encoding: "utf8",
    env: withoutPackages(),
    stdio: ["ignore", "pipe", "ignore"],
  });
  return `registry=${registry.trim()}\ncafile=${certificates}\n`;
}
