/** Why the Kubernetes API did not say which images are used. */
export class ClusterError extends Error {
  override readonly name = "ClusterError";

  /** What the client threw, in one sentence. */
  static of(error: unknown, server: string, namespace: string | undefined, patienceMs: number): ClusterError {
    const where = namespace === undefined ? "all namespaces" : `namespace ${namespace}`;
    const fail = (sentence: string) => new ClusterError(sentence, { cause: error });
    if (error instanceof DOMException && error.name === "TimeoutError") {
      return fail(`${server} did not list the pods of ${where} within ${patienceMs / 1000} s`);
    }
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === 401)
      return fail(`${server} does not accept the credential of the kubeconfig or service account`);
    if (code === 403)
      return fail(`${server} does not allow listing pods in ${where}: grant the verb list on pods`);
    if (code === 404) return fail(`${server} knows no pods: it is not the Kubernetes API`);
    if (typeof code === "number")
      return fail(`${server} answered ${code} when asked for the pods of ${where}`);
    return fail(`${server} cannot be asked for pods: ${reasonOf(error)}`);
  }
}

/** The deepest cause, which is what went wrong on the way. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "it did not say why";
  if (error.cause instanceof Error) return reasonOf(error.cause);
  return error.message || ("code" in error ? String(error.code) : error.name);
}
