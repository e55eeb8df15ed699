/** Until when the certificates of an upstream are good. */

/**
 * What a connector is to tell of certificates: of those that `origins` showed last, the first that ends is passed on to
 * `told`, in ms since the epoch. Origins that are only redirected to are nobody's to renew, and come and go.
 */
export function watchCertificates(
  origins: readonly string[],
  told: (notAfter: number) => void,
): (origin: string, notAfter: number) => void {
  const ends = new Map<string, number>();
  return (origin, notAfter) => {
    if (!origins.includes(origin)) return;
    ends.set(origin, notAfter);
    told(Math.min(...ends.values()));
  };
}
