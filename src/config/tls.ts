/** How a listener proves who it is, and what it asks of its clients: the same section for both listeners. */
import { z } from "zod";
import { pemFile } from "./files.ts";

/** The section `tls` of a listener. Its files are followed while Hubcap runs, so what becomes of it are their paths. */
export const tls = z.strictObject({
  certificateFile: pemFile().describe(
    "A PEM file with the certificate, followed by intermediate certificates; reread when it changes.",
  ),
  keyFile: pemFile().describe(
    "A PEM file with the certificate's private key, without a passphrase; reread when it changes.",
  ),
  clientCaFile: pemFile()
    .exactOptional()
    .describe(
      "A PEM file with the authorities of client certificates, which are then requested; reread when it changes.",
    ),
  clientCertificates: z
    .enum(["required", "optional"])
    .exactOptional()
    .describe(
      "With `clientCaFile`, whether a client without a certificate of those authorities is refused (`required` unless set) or served without an identity.",
    ),
});

/** The section as it is read. */
export type TlsSettings = z.output<typeof tls>;
