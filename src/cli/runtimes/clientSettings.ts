/** What a runtime's files shall say, and the files that say it. */

/** Which pulls go through which mirror, and how. */
export interface ClientSettings {
  /** Hubcap's registry listener; an origin without a path. */
  readonly mirror: URL;
  /** Source hosts, at least one. */
  readonly upstreams: readonly string[];
  /** Whether a node may go to the registry itself when the mirror gives no answer. */
  readonly fallback: boolean;
  /** The node's name, under which its pulls are counted. */
  readonly node?: string;
  /** What Hubcap asks of its clients. */
  readonly token?: string;
  /** The authority (PEM) that signed the mirror's certificate. */
  readonly ca?: string;
}

/** A file for a node. */
export interface NodeFile {
  /** Below the runtime's folder. */
  readonly path: string;
  readonly text: string;
}

/** One kind of client: where its files belong, what is in them, and what it cannot do. */
export interface Runtime {
  /** Where its files are on a node; undefined for a patch that is applied from elsewhere. */
  readonly folder: string | undefined;
  /** The paths that its files may have. */
  readonly owns: RegExp;
  /** Why it cannot do what is wished, as the end of a sentence that begins with its name. */
  readonly cannot: (client: ClientSettings) => string | undefined;
  readonly files: (client: ClientSettings) => readonly NodeFile[];
  /** What the one who writes the files must know or do, in one line each. */
  readonly advice: (client: ClientSettings) => readonly string[];
}

const signature = "written by hubcap client-config";

/** A file that takes comments: its first line says where it belongs, and who wrote it. */
export function signed(folder: Runtime["folder"], path: string, lines: readonly string[]): NodeFile {
  return { path, text: [`# ${placeOf(folder, path)}, ${signature}`, ...lines, ""].join("\n") };
}

/** The name of the file with the authority of the mirror's certificate. */
export const authorityFile = "hubcap-ca.crt";

/** That file, where an authority is named. */
export function authorityAt(folder: string, path: string, { ca }: ClientSettings): NodeFile[] {
  return ca === undefined ? [] : [signed(folder, path, [ca.trimEnd()])];
}

/** Where a file belongs, for messages. */
export function placeOf(folder: Runtime["folder"], path: string): string {
  return folder === undefined ? path : `${folder}/${path}`;
}

/** Docker Engine's file takes no comments, but labels, which `docker info` shows. */
export const dockerLabel = "hubcap=client-config";

/** Whether a file was written by us, by its first line. */
export function isOurs(text: string): boolean {
  const [first = ""] = text.split("\n");
  return (first.startsWith("# ") && first.endsWith(`, ${signature}`)) || first.includes(`"${dockerLabel}"`);
}

/** A string as TOML and YAML write it. What comes here has no control characters. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** Why the node's name cannot be sent, as the end of a sentence that begins with the client's name. */
export function cannotNameNode({ node }: ClientSettings): string | undefined {
  if (node === undefined) return undefined;
  return "sends mirrors no header, so --node has no meaning: its pulls are counted by address";
}

/** The same for a token, with what to do `instead`. */
export function cannotShowToken({ token }: ClientSettings, instead: string): string | undefined {
  return token === undefined
    ? undefined
    : `takes no token from its files, so --token-file has no meaning: ${instead}`;
}
