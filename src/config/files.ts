/** Settings that name a file or a folder: what each has to be, and whether its path is kept or what it holds. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Secret } from "./secret.ts";
import { written } from "./values.ts";

/** A folder; becomes an absolute path, seen from the working directory. */
export function folder() {
  return written("path", /./, "the path of a folder", (text) => resolve(text));
}

/** A file that is written; becomes an absolute path, seen from the working directory. */
export function outputFile() {
  return written("path", /./, "the path of a file", (text) => resolve(text));
}

/** A file with trusted certificates; becomes its text. */
export function certificateFile() {
  return written("file", /./, "the path of a readable PEM file with certificates", (path) => {
    const text = readText(path);
    return text?.includes("-----BEGIN CERTIFICATE-----") === true ? text : undefined;
  });
}

/** A PEM file, readable now; becomes its absolute path, since what it holds may change. */
export function pemFile() {
  return written("PEM file", /./, "the path of a readable PEM file", (path) =>
    readText(path)?.includes("-----BEGIN ") === true ? resolve(path) : undefined,
  );
}

/** A file with public keys; becomes its text. */
export function publicKeyFile() {
  return written("file", /./, "the path of a readable PEM file with a public key", (path) => {
    const text = readText(path);
    return text?.includes("-----BEGIN PUBLIC KEY-----") === true ? text : undefined;
  });
}

/** A file with JSON; becomes its text. */
export function jsonFile() {
  return written("file", /./, "the path of a readable JSON file", (path) => {
    const text = readText(path);
    try {
      JSON.parse(text ?? "");
      return text;
    } catch {
      return undefined;
    }
  });
}

/** A file that holds a secret; becomes the secret, without the line end that editors add. */
export function secretFile() {
  return written("secret file", /./, "the path of a readable file that is not empty", (path) => {
    const text = readText(path)?.trimEnd();
    return text === undefined || text === "" ? undefined : new Secret(text);
  });
}

/** A file that holds a credential, readable now; becomes its absolute path, since the credential in it may change. */
export function credentialFile() {
  return written("credential file", /./, "the path of a readable file that is not empty", (path) =>
    readText(path)?.trimEnd() ? resolve(path) : undefined,
  );
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // The issue names the path; why it cannot be read is for the operator to see there.
  }
}
