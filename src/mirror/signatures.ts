/** Finding the signatures of an image where cosign puts them: under a tag made of its digest, and among its referrers. */
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, hexOf, type Digest } from "../oci/digest.ts";
import { readManifest } from "../oci/manifest.ts";
import { formatRepository, parseTag, type Reference } from "../oci/reference.ts";
import type { Verdict } from "../store/catalog.ts";
import { signPredicate, type Signature, type SignatureJudge, type Signed } from "../trust/signature.ts";
import type { PullContext } from "./context.ts";
import { unlessAbsent } from "./errors.ts";
import type { UpstreamRequests } from "./upstreamRequests.ts";
import type { BlobPulls } from "./blobPull.ts";
import type { ManifestPulls } from "./manifestPull.ts";
import { readSmall } from "./smallBlobs.ts";

const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
const bundleType = /^application\/vnd\.dev\.sigstore\.bundle[.a-z0-9]*\+json$/;

/** Artifact types of referrers that hold signatures. Others, such as SBOMs, are not looked into. */
const artifactTypes = /^application\/vnd\.dev\.(?:sigstore\.bundle|cosign\.artifact\.sig\.)/;

/** What cosign lists its bundles as where a registry has no referrers API: as any other artifact. */
const anyArtifact = "application/vnd.oci.empty.v1+json";

/** Where cosign writes on a bundle what it states of an image. */
const predicateKey = "dev.sigstore.bundle.predicateType";

/** The most that is looked at of one image: whoever may push could add signatures without end. */
const maxReferrers = 8;
const maxSignatures = 16;
/** In bytes. A payload is a few hundred bytes, a bundle some ten thousand. */
const maxSignatureBytes = 256 * 1024;

/** For how many ms an image without a good signature is refused unseen: it may be signed a moment after it was pushed. */
const beliefMs = 60_000;

export interface SignaturesOptions {
  readonly manifestPulls: Pick<ManifestPulls, "get">;
  readonly blobPulls: Pick<BlobPulls, "get">;
  readonly requests: UpstreamRequests;
  readonly now: () => number;
}

export class Signatures {
  readonly #options: SignaturesOptions;

  constructor(options: SignaturesOptions) {
    this.#options = options;
  }

  /** Is `image` signed as `judge` wants it? @throws UpstreamError when that cannot be found out. */
  async verdict(pull: PullContext, image: Signed, judge: SignatureJudge): Promise<Verdict> {
    const faults = new Set<string>();
    let looked = 0;
    for await (const signature of this.#all(pull, image.digest)) {
      const fault = judge.judge(signature, image);
      if (fault === undefined) return {};
      faults.add(fault);
      looked += 1;
      if (looked === maxSignatures) break;
    }
    const reasons = [...faults].slice(0, 3).join("; ");
    const why =
      looked === 0
        ? "it is not signed: sign it with cosign, or pull an image that is"
        : `none of its signatures counts (${looked} looked at): ${reasons}`;
    return { refusal: { reason: "signature", why }, until: this.#options.now() + beliefMs };
  }

  async *#all(pull: PullContext, digest: Digest): AsyncGenerator<Signature, void, undefined> {
    const tag = parseTag(`${algorithmOf(digest)}-${hexOf(digest)}.sig`);
    // A tag that does not exist is learnt by HEAD, and a list of referrers is no pull.
    const toSignature = { ...pull, signatureOf: digest };
    if (tag) yield* this.#within(toSignature, tag);
    const referrers = await this.#referrers(pull, digest);
    for (const referrer of referrers.slice(0, maxReferrers)) {
      yield* this.#within(toSignature, referrer.digest);
    }
  }

  async #referrers(pull: PullContext, digest: Digest): Promise<readonly Descriptor[]> {
    const { upstream, repository } = pull;
    const about = `signatures ${formatRepository(repository)}@${digest}`;
    const all = await this.#options.requests.share(
      { about, want: "content", send: (options) => upstream.registry.referrers(repository, digest, options) },
      pull,
    );
    const signs = all.filter(
      ({ annotations }) => (annotations?.[predicateKey] ?? signPredicate) === signPredicate,
    );
    return [
      ...signs.filter(({ artifactType }) => artifactTypes.test(artifactType ?? "")),
      ...signs.filter(({ artifactType }) => (artifactType ?? anyArtifact) === anyArtifact),
    ];
  }

  /** The signatures that the manifest of `reference` holds; none when there is no such manifest. The newest come first. */
  async *#within(pull: PullContext, reference: Reference): AsyncGenerator<Signature, void, undefined> {
    const found = await unlessAbsent(this.#options.manifestPulls.get(pull, reference));
    if (!found?.bytes) return;
    const { layers } = found.parsed ?? readManifest(found.bytes, found.manifest.mediaType);
    for (const { mediaType, digest, size, annotations } of layers.slice(-maxSignatures).toReversed()) {
      const kind = mediaType === payloadType ? "payload" : bundleType.test(mediaType) ? "bundle" : undefined;
      if (!kind || size > maxSignatureBytes) continue;
      const get = () => this.#options.blobPulls.get(pull, digest);
      const bytes = await readSmall(get, maxSignatureBytes);
      if (!bytes) continue;
      yield kind === "bundle"
        ? { kind, bundle: bytes }
        : { kind, payload: bytes, annotations: annotations ?? {} };
    }
  }
}
