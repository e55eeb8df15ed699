/** How far a long command is: a bar in a terminal, plain lines elsewhere. Both go to standard error. */
import { bytesText } from "../async/text.ts";

const width = 30;
/** A bar of less says nothing. */
const narrowest = 5;
const redrawMs = 100;

type Terminal = Pick<NodeJS.WriteStream, "isTTY"> & {
  readonly write: (text: string) => unknown;
  readonly columns?: number;
};

export class Progress {
  readonly #out: Terminal;
  readonly #verb: string;
  /** 0 while it is not known. */
  #total: number;
  #done = 0;
  #drawnAt = 0;

  constructor(verb: string, total: number, out: Terminal = process.stderr) {
    this.#verb = verb;
    this.#total = total;
    this.#out = out;
  }

  /** So many bytes more are through. */
  advance(bytes: number): void {
    this.reach(this.#done + bytes, this.#total);
  }

  /** So many bytes of so many are through, as far as that is known by now. */
  reach(done: number, total: number): void {
    this.#done = done;
    this.#total = total;
    if (!this.#out.isTTY || performance.now() - this.#drawnAt < redrawMs) return;
    this.#drawnAt = performance.now();
    this.#draw();
  }

  /** One part is through; in a terminal the bar has said so. */
  part(name: string, bytes: number): void {
    if (!this.#out.isTTY) this.#out.write(`${this.#verb} ${name} ${bytesText(bytes)}\n`);
  }

  /** Says something in either place, above the bar where there is one. */
  line(text: string): void {
    this.#out.write(this.#out.isTTY ? `\r\u001b[K${text}\n` : `${text}\n`);
    if (this.#out.isTTY) this.#draw();
  }

  /** Leaves the bar as it is at the end. */
  end(): void {
    if (!this.#out.isTTY) return;
    this.#draw();
    this.#out.write("\n");
  }

  #draw(): void {
    const share = this.#total === 0 ? 0 : Math.min(1, this.#done / this.#total);
    const bytes = bytesText(this.#done);
    const counted = this.#total === 0 ? bytes : `${bytes} of ${bytesText(this.#total)}`;
    // A line that the terminal wraps could not be drawn over any more.
    const columns = (this.#out.columns ?? 80) - 1;
    const space = Math.min(width, columns - `${this.#verb} [] ${counted}`.length);
    const bar = "#".repeat(Math.round(share * Math.max(0, space))).padEnd(space, ".");
    const text = this.#total === 0 || space < narrowest ? counted : `[${bar}] ${counted}`;
    this.#out.write(`\r\u001b[K${`${this.#verb} ${text}`.slice(0, columns)}`);
  }
}
