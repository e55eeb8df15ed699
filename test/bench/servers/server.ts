/** A server under measurement, as a process of its own. */

/** Disposing of it ends the process and removes what it stored. */
export interface Server extends AsyncDisposable {
  readonly name: "Hubcap" | "docker-registry" | "nginx" | "bare Node";
  /** `http://` with address and port. */
  readonly url: string;
}
