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

/** So many that the compiler has done with the code and the collector leaves one of them alone. */
const rounds = 10;

/**
 * How many times longer `run` takes for an input 8 times as large: about 8 when linear, about 64 when quadratic. Less than a
 * millisecond counts as one, since below it the clock and the collector weigh more than the input.
 */
export function growth<T>(make: (size: number) => T, size: number, run: (input: T) => unknown): number {
  const [small, large] = [make(size), make(size * 8)];
  return (
    leastTime(() => run(large), rounds) /
    Math.max(
      1,
      leastTime(() => run(small), rounds),
    )
  );
}
