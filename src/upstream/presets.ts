/** Registries that are known by name: where they answer, and which origins issue their tokens (each one's own 401). */

/** What need not be configured for a known registry. */
export interface KnownRegistry {
  readonly url: string;
  /** The exact origins that may see the credential; empty where no token is needed. */
  readonly tokenRealms: readonly string[];
}

const known: Readonly<Record<string, KnownRegistry>> = {
  "docker.io": { url: "https://registry-1.docker.io", tokenRealms: ["https://auth.docker.io"] },
  "ghcr.io": { url: "https://ghcr.io", tokenRealms: ["https://ghcr.io"] },
  "quay.io": { url: "https://quay.io", tokenRealms: ["https://quay.io"] },
  "registry.k8s.io": { url: "https://registry.k8s.io", tokenRealms: [] },
  "gcr.io": { url: "https://gcr.io", tokenRealms: ["https://gcr.io"] },
  "public.ecr.aws": { url: "https://public.ecr.aws", tokenRealms: ["https://public.ecr.aws"] },
  "mcr.microsoft.com": { url: "https://mcr.microsoft.com", tokenRealms: [] },
  "nvcr.io": { url: "https://nvcr.io", tokenRealms: ["https://nvcr.io"] },
  "registry.gitlab.com": { url: "https://registry.gitlab.com", tokenRealms: ["https://gitlab.com"] },
};

// Private registries of the clouds. ECR answers with Basic and needs no realm; the others issue their own tokens.
const patterns: readonly { readonly host: RegExp; readonly ownRealm: boolean }[] = [
  { host: /^\d{12}\.dkr\.ecr(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?$/, ownRealm: false },
  { host: /^[a-z0-9][a-z0-9-]*\.azurecr\.(?:io|cn|us)$/, ownRealm: true },
  { host: /^[a-z0-9-]+-docker\.pkg\.dev$/, ownRealm: true },
  { host: /^(?:us|eu|asia)\.gcr\.io$/, ownRealm: true },
];

/** What is known of a source host, or undefined when it is not a known registry. */
export function knownRegistry(host: string): KnownRegistry | undefined {
  if (Object.hasOwn(known, host)) return known[host];
  const pattern = patterns.find((pattern) => pattern.host.test(host));
  return pattern && { url: `https://${host}`, tokenRealms: pattern.ownRealm ? [`https://${host}`] : [] };
}
