/** The settings of the audit log. */
import { z } from "zod";
import { outputFile } from "./files.ts";

/** The section `audit`. */
export const audit = z.strictObject({
  file: outputFile()
    .exactOptional()
    .describe("The file to which lines are appended; reopened when it was renamed, and on SIGHUP."),
  stdout: z
    .boolean()
    .prefault(false)
    .describe("Writes the lines to standard output instead, among those of the log."),
});
