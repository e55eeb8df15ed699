/** What the catalog was asked last and answered: the same few manifests are asked for again and again, and nothing has changed. */
import type Database from "better-sqlite3";
import { LRUCache } from "lru-cache";

/** Bytes of answers that are kept at most, as far as they can be told. */
const capacity = 8 * 1024 * 1024;

/** About what an answer takes, beside the question that it is kept under. */
const answerBytes = 500;

/** The answers of one connection: the only one that writes, or one that only reads. They took a third of the time of a manifest from SQLite. */
export class QueryCache {
  readonly #changes;
  readonly #answers = new LRUCache<string, object>({
    maxSize: capacity,
    sizeCalculation: (_answer, question) => question.length * 2 + answerBytes,
  });
  #asOf = -1;
  /** Set while a connection that only reads is not asked again what has changed: until the turn of the event loop is over. */
  #isAsked = false;

  constructor(database: Database.Database) {
    // Rows that this connection has ever changed, by whichever statement or trigger, or what another one has committed: no
    // writer can forget to tell.
    const changes = database.readonly ? "PRAGMA data_version" : "SELECT total_changes()";
    this.#changes = database.prepare<[], number>(changes).pluck();
  }

  /** What `look` found when nothing in the database was other than now. Absence is looked up each time. */
  answer<T extends object>(question: string, look: () => T | undefined): T | undefined {
    if (!this.#isAsked) this.#ask();
    // A question says of what type its answer is.
    const known = this.#answers.get(question) as T | undefined;
    if (known) return known;
    const found = look();
    if (found) this.#answers.set(question, found);
    return found;
  }

  /** Lets go of all answers when something has changed. */
  #ask(): void {
    const changes = this.#changes.get();
    if (changes !== this.#asOf) {
      this.#answers.clear();
      this.#asOf = changes ?? -1;
    }
    if (!this.#changes.database.readonly) return;
    // What others commit need not count within the turn, and to ask for each manifest took an eighth of its time.
    this.#isAsked = true;
    setImmediate(() => (this.#isAsked = false));
  }
}
