/** How run time grows with input: what a user of hostile input relies on, without a clock's absolute numbers. */

/** The least of several run times of this thread alone, in milliseconds: other processes do not count. */
export function leastTime(run: () => unknown, times = 5): number {
  let least = Infinity;
  for (let round = 0; round < times; round += 1) {
    const before = process.threadCpuUsage();
    run();
    const { user, system } = process.threadCpuUsage(before);
    least = Math.min(least, (user + system) / 1000);
  }
  return least;
}

/** So many that the compiler has done with the code. */
const rounds = 5;
const factor = 8;

/**
 * How many times longer `run` takes for one input 8 times as large than for 8 of the small one: about 1 when linear, about 8
 * when quadratic. Both make as much garbage, so the collector weighs on both. Less than a millisecond counts as one, since
 * below it the clock weighs more than the input.
 */
export function growth<T>(make: (size: number) => T, size: number, run: (input: T) => unknown): number {
  const [small, large] = [make(size), make(size * factor)];
  const several = () => {
    for (let turn = 0; turn < factor; turn += 1) {
      run(small);
    }
  };
  return leastTime(() => run(large), rounds) / Math.max(1, leastTime(several, rounds));
}
