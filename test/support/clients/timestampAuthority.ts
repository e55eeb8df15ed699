/** A timestamp authority (RFC 3161) of one's own: openssl behind a small web server. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import type { Client } from "../clients.ts";
import { run, sealed } from "./process.ts";

const configuration = `
[req]
distinguished_name = name
prompt = no
[name]
CN = clock
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
[tsa]
default_tsa = clock
[clock]
serial = serial
signer_cert = leaf.pem
certs = authority.pem
signer_key = leaf.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
`;

export class TimestampAuthority {
  readonly url: string;
  /** The file with its certificates in PEM, the one that signs first. */
  readonly chain: string;
  readonly #server: Server;

  private constructor(server: Server, chain: string) {
    this.#server = server;
    this.chain = chain;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** One that keeps its keys in `folder`, which is created. */
  static async start(openssl: Client, folder: string): Promise<TimestampAuthority> {
    await mkdir(folder);
    // The paths in the configuration are seen from where openssl runs.
    const text = configuration.replaceAll(
      /= (serial|leaf\.pem|leaf\.key|authority\.pem)$/gm,
      `= ${folder}/$1`,
    );
    await writeFile(join(folder, "openssl.cnf"), text);
    await writeFile(join(folder, "serial"), "01\n");
    const call = (...parameters: readonly string[]): Promise<string> =>
      run(openssl.path, parameters, sealed(folder));
    const at = (name: string): string => join(folder, name);
    const config = ["-config", at("openssl.cnf")];
    const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const authority = [...newKey, "-keyout", at("authority.key"), "-out", at("authority.pem")];
    const one = ["-subj", "/CN=clock authority", "-extensions", "authority", ...config];
    await call("req", "-x509", "-days", "2", ...authority, ...one);
    const request = [...newKey, "-keyout", at("leaf.key"), "-out", at("leaf.csr"), "-subj", "/CN=clock"];
    await call("req", ...request, ...config);
    const by = ["-CA", at("authority.pem"), "-CAkey", at("authority.key"), "-CAcreateserial", "-days", "1"];
    const as = ["-extfile", at("openssl.cnf"), "-extensions", "leaf"];
    await call("x509", "-req", "-in", at("leaf.csr"), "-out", at("leaf.pem"), ...by, ...as);
    const chain = await Promise.all(["leaf.pem", "authority.pem"].map((name) => readFile(at(name))));
    await writeFile(at("chain.pem"), Buffer.concat(chain));

    let count = 0;
    const answer = async (request: IncomingMessage): Promise<Buffer> => {
      count += 1;
      const [asked, answered] = [at(`${count}.tsq`), at(`${count}.tsr`)];
      await writeFile(asked, await buffer(request));
      await call("ts", "-reply", ...config, "-queryfile", asked, "-out", answered);
      return readFile(answered);
    };
    const server = createServer((request, response) => {
      response.setHeader("content-type", "application/timestamp-reply");
      answer(request).then(
        (bytes) => response.end(bytes),
        () => response.destroy(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new TimestampAuthority(server, at("chain.pem"));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
