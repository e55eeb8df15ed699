/** A second try for what died on a connection that the other side had already closed. */
import { diedIdle } from "./fault.ts";

/** What `send` gives, or what it gives the second time when the first died on an idle connection. */
export async function again<T>(send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!diedIdle(error)) throw error;
    return send();
  }
}
