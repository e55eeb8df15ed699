/** The settings of traces. */
import { z } from "zod";
import { secretFile } from "./files.ts";
import { Secret } from "./secret.ts";
import { serviceUrl, share } from "./values.ts";

/** The section `tracing`. */
export const tracing = z.strictObject({
  endpoint: serviceUrl()
    .exactOptional()
    .describe(
      "The collector's OTLP/HTTP address, to which `/v1/traces` is added; without it nothing is traced.",
    ),
  sampleRatio: share()
    .prefault("100%")
    .describe("The share of pulls that are traced, whatever a `traceparent` says."),
  headersFile: secretFile()
    .transform(headersIn)
    .meta({ "x-type": "header file" })
    .exactOptional()
    .describe("A file with headers for the collector, such as its token: one `Name: value` in each line."),
});

const header = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\x20-\x7e]*)$/;

/** The headers that a file's text spells, each value a secret. */
function headersIn(text: Secret, context: z.RefinementCtx): Readonly<Record<string, Secret>> {
  const lines = text
    .reveal()
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "");
  const headers: Record<string, Secret> = {};
  for (const line of lines) {
    const [, name, value] = header.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      context.addIssue({ code: "custom", message: "the path of a file with one `Name: value` in each line" });
      return z.NEVER;
    }
    headers[name] = new Secret(value.trimEnd());
  }
  return headers;
}
