/** Bounds how long one step of background work may block the event loop: on a slow disk, steps get smaller. */

/** In ms. A request may wait for so long, and for one row more. */
export const usualSliceMs = 5;

export class TimeSlice {
  readonly #end: number;

  constructor(ms = usualSliceMs) {
    this.#end = performance.now() + ms;
  }

  get isOver(): boolean {
    return performance.now() >= this.#end;
  }
}

/** Breaks in work of many small steps: after each slice of time, the event loop runs other work. */
export class TimeSlices {
  #slice = new TimeSlice();

  /** To be awaited after each step. */
  async rest(): Promise<void> {
    if (!this.#slice.isOver) return;
    await new Promise(setImmediate);
    this.#slice = new TimeSlice();
  }
}

/** The first of `rows`, as many as fit into a slice of time; at least one, if there is one. */
export function someOf<Row>(rows: Iterable<Row>, slice: TimeSlice): Row[] {
  const some: Row[] = [];
  for (const row of rows) {
    some.push(row);
    if (slice.isOver) break;
  }
  return some;
}
