/** One account's secret as it is sent: as Basic, or as the refresh token of an identity. */

/** A user name with its password or identity token. It cannot be printed: the secret leaves only in a header or a form. */
export class AccountSecret {
  readonly #username: string;
  readonly #password: string;
  /** The password is an identity token (Docker's `identitytoken`): token services take it as an OAuth2 refresh token. */
  readonly isIdentity: boolean;

  constructor(username: string, password: string, isIdentity = false) {
    this.#username = username;
    this.#password = password;
    this.isIdentity = isIdentity;
  }

  /** The value of an `Authorization: Basic` header (RFC 7617). */
  basic(): string {
    return `Basic ${Buffer.from(`${this.#username}:${this.#password}`).toString("base64")}`;
  }

  /** The parameters of an OAuth2 refresh (RFC 6749 6). */
  refreshGrant(): Record<string, string> {
    return { grant_type: "refresh_token", refresh_token: this.#password };
  }

  equals(other: AccountSecret | undefined): boolean {
    return other !== undefined && this.#username === other.#username && this.#password === other.#password;
  }
}
