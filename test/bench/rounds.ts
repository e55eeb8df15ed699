/** Rounds that alternate between servers, so that what changes on the machine meanwhile meets all of them. */
import type { Series } from "./report.ts";

/** Measures each of `subjects` in turn, A B A B, for `count` rounds; the results by subject, in the order of the rounds. */
export async function alternate<Subject, Result>(
  subjects: readonly Subject[],
  count: number,
  measure: (subject: Subject) => Promise<Result>,
): Promise<ReadonlyMap<Subject, readonly Result[]>> {
  const results = new Map<Subject, Result[]>(subjects.map((subject) => [subject, []]));
  for (let round = 0; round < count; round += 1) {
    for (const subject of subjects) {
      results.get(subject)?.push(await measure(subject));
    }
  }
  return results;
}

/** One figure of what a server reached in each round. */
export function seriesOf<Figure extends string>(
  server: string,
  rounds: readonly Readonly<Record<Figure, number>>[] | undefined,
  figure: Figure,
): Series {
  return { server, rounds: (rounds ?? []).map((found) => found[figure]) };
}
