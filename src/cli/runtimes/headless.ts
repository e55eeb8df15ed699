/** What clients cannot be told that send a mirror no header of ours. */
import type { Wish } from "./wish.ts";

/** Why the node's name or a token cannot be sent, as the end of a sentence that begins with the client's name. */
export function cannotSendHeaders({ node, token }: Wish): string | undefined {
  if (node !== undefined)
    return "sends mirrors no header, so --node has no meaning: pulls are counted by address";
  if (token !== undefined) {
    return "sends mirrors no header, so --token-file has no meaning: let it in by its network or certificate";
  }
  return undefined;
}
