/** Credentials: an account at an upstream, and the secret that stands for it now. */
import { UpstreamError } from "../error.ts";
import type { AccountSecret } from "./secret.ts";

/** Sends a form to the registry's own origin and returns the JSON of a 200. @throws UpstreamError */
export type PostForm = (url: URL, form: Readonly<Record<string, string>>) => Promise<unknown>;

/** An account at an upstream. */
export interface Credential {
  /** A name to show, which is never a secret; "anonymous" when there is no account. */
  readonly account: string;
  /** What to send now, or undefined for nothing. @throws Error when it cannot be obtained. */
  secret(post: PostForm): Promise<AccountSecret | undefined>;
  /** The upstream refused `secret`: what comes next is read or obtained anew. */
  refused(secret: AccountSecret): void;
}

/** No account. */
export const anonymous: Credential = {
  account: "anonymous",
  secret: async () => undefined,
  refused: () => undefined,
};

/** What `credential` would send now. @throws UpstreamError "denied" when it cannot be obtained, or what `post` throws. */
export async function secretOf(
  credential: Credential,
  upstream: string,
  post: PostForm,
): Promise<AccountSecret | undefined> {
  try {
    return await credential.secret(post);
  } catch (error) {
    if (error instanceof UpstreamError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UpstreamError("denied", `${upstream}: the credential cannot be obtained: ${why}`, {
      cause: error,
    });
  }
}
