/** A job that fetches ahead, as far as the command line looks at what the status API says of it. */

export interface JobImage {
  readonly image: string;
  readonly state: string;
  readonly error: string | null;
  readonly retryAt: string | null;
  readonly totalBytes: number;
}

export interface Job {
  readonly id: string;
  readonly state: string;
  readonly endedAt: string | null;
  readonly goOnAt: string | null;
  readonly left: number;
  readonly bytes: number;
  readonly totalBytes: number;
  readonly images: readonly JobImage[];
}
