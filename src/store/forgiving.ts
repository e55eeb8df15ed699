/** A catalog on a disk that may be full or failing: what cannot be written is not remembered, what cannot be read is not known. */

/**
 * `inner`, all of whose methods are asynchronous and may answer undefined, which is what they do where `forgives`
 * says that the disk is to blame.
 */
export function forgiving<T extends object>(inner: T, forgives: (error: unknown) => boolean): T {
  const methods = new Map<string | symbol, (...args: unknown[]) => Promise<unknown>>();
  const method =
    (name: string | symbol) =>
    async (...args: unknown[]): Promise<unknown> => {
      try {
        return await (Reflect.get(inner, name) as (...args: unknown[]) => unknown)(...args);
      } catch (error) {
        if (!forgives(error)) throw error;
        return undefined;
      }
    };
  return new Proxy(inner, {
    get: (_inner, name) => methods.getOrInsertComputed(name, method),
  });
}
