/** What is typed after an option and has to be read: files and addresses. */
import { readFileSync } from "node:fs";
import { UsageError } from "./exit.ts";

/** The text of the file that follows `option`. @throws UsageError when it cannot be read. */
export function readText(option: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`${option} ${file} cannot be read`, { cause: error });
  }
}

/** The address of a server, by http or https and without path, user or query; undefined for any other text. */
export function parseOrigin(text: string): URL | undefined {
  const url = URL.parse(text);
  if (url?.protocol !== "http:" && url?.protocol !== "https:") return undefined;
  return url.href === `${url.origin}/` ? url : undefined;
}
