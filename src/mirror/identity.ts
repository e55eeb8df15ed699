/** Who asks: what a client has proven of itself. */

export interface ClientIdentity {
  /** The name of its token. */
  readonly token?: string;
  /** The user of the password file. */
  readonly user?: string;
  /** The names in its certificate. */
  readonly certificate?: readonly string[];
  /** Its IP address; one of IPv4 as such, also where the socket shows it as one of IPv6. */
  readonly address?: string;
  /** The house itself, or its operator: may see everything. */
  readonly isOperator?: boolean;
}

/** Who has proven nothing. */
export const anonymousClient: ClientIdentity = {};

/** Hubcap's own errands, and those of who holds the admin token. */
export const operator: ClientIdentity = { isOperator: true };
