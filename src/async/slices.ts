/** How long one step of work in the background may hold up the event loop: what a slow disk makes longer, this makes smaller. */

/** In ms. Requests wait for as long at most, and one row more, on top of what they wait for anyway. */
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

/** Breaks in work of many small steps: whenever a slice of time is over, everybody else has a turn. */
export class TimeSlices {
  #slice = new TimeSlice();

  /** To be awaited after each step. */
  async rest(): Promise<void> {
    if (!this.#slice.isOver) return;
    await new Promise(setImmediate);
    this.#slice = new TimeSlice();
  }
}

/** The first of `rows`, as many as a slice of time has room for; none only when there are none. */
export function someOf<Row>(rows: Iterable<Row>, slice: TimeSlice): Row[] {
  const some: Row[] = [];
  for (const row of rows) {
    some.push(row);
    if (slice.isOver) break;
  }
  return some;
}
