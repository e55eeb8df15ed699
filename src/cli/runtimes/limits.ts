/** What most clients cannot be told about a mirror: they send it no header of ours, and some no credential either. */
import type { ClientSettings } from "./clientSettings.ts";

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
