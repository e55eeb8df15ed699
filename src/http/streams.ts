/** How many blobs are being sent to each client. */
import { RegistryError } from "../oci/error.ts";
import { Counter } from "./counter.ts";

/** When a client that has too many should ask again, in seconds. */
const retryAfter = 5;

export class StreamLimit {
  readonly #running = new Counter();
  readonly #perClient: number;
  readonly #reached: () => void;

  /** `reached` is told of every refusal. */
  constructor(perClient: number, reached: () => void) {
    this.#perClient = perClient;
    this.#reached = reached;
  }

  /** Begins one for `client`; the returned function ends it. @throws RegistryError when it has too many. */
  begin(client: string): () => void {
    const count = this.#running.of(client);
    if (count >= this.#perClient) {
      this.#reached();
      throw new RegistryError(
        "TOOMANYREQUESTS",
        `${client} is being sent ${count} blobs already, which is all that limits.streamsPerClient allows; try again when one has ended`,
        { retryAfter },
      );
    }
    return this.#running.add(client);
  }
}
