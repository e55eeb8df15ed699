# Hubcap as an image. The base can be any image with Node 26 and npm:
#
#   docker build -t hubcap .
#   docker build -t hubcap --build-arg NODE_IMAGE=registry.example/node:26-slim --secret id=npmrc,src=$HOME/.npmrc .
#
# The secret is for packages from another registry than npm's own; it is not stored in the image.
ARG NODE_IMAGE=node:26-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /opt/hubcap
COPY package.json package-lock.json ./
# No package has to run a script at installation: native code comes compiled. Files that are not needed at run time are removed.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
    && rm -rf node_modules/better-sqlite3/deps node_modules/better-sqlite3/src \
    && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete \
    && mkdir .cache && chown 65532 .cache
COPY LICENSE ./
COPY config config
COPY src src
# --max-semi-space-size: V8's young generation, in MiB. With the default of 16, buffers of a download survive it and cause full
# collections: with 2 a cold blob takes a sixth less, and an idle process 10 MB less; a manifest takes 3 % more.
# --no-allocation-site-pretenuring: if objects of one allocation site live long, as at the start, V8 allocates all later ones of that
# site in the old generation. Those of a request are then only freed by a full collection, and keep alive what they refer to: two
# starts of three answered a fifth fewer manifests. NODE_OPTIONS refuses this option, so all are given on the command line.
# --disable-warning: node:ffi is experimental (docs/decisions/0010-sendfile.md); Node need not warn at each start.
ENV NODE_ARGS="--max-semi-space-size=2 --no-allocation-site-pretenuring --disable-warning=ExperimentalWarning"
RUN mkdir -p /out/etc/hubcap /out/usr/local/bin /data \
    && cp config/hubcap.yaml /out/etc/hubcap/ \
    && printf '#!/bin/sh\nexec node %s /opt/hubcap/src/main.ts "$@"\n' "$NODE_ARGS" > /out/usr/local/bin/hubcap \
    && chmod 755 /out/usr/local/bin/hubcap
# Node's compile cache is keyed by path, user, and the V8 options that change compiled code, as the second one above does. Without it
# a start takes twice as long, and the code that strips types stays in memory: 33 MB. So files that a running Hubcap imports lazily
# are named here, too.
USER 65532:65532
RUN NODE_COMPILE_CACHE=.cache node $NODE_ARGS src/main.ts --version \
    && NODE_COMPILE_CACHE=.cache node $NODE_ARGS --input-type=module --eval \
    'for (const file of ["cli/input", "serve/serve", "store/sqlite/checkpointThread", "store/sqlite/backupThread", "http/api/api", "http/passwords", "telemetry/tracing", "cli/quota", "serve/worker"]) await import(`/opt/hubcap/src/${file}.ts`)' \
    && chmod -R a+rX .cache

FROM ${NODE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="Hubcap" \
      org.opencontainers.image.description="A pull-through OCI registry cache that knows how many pulls are left" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build --chown=0:0 /opt/hubcap /opt/hubcap
COPY --from=build /out /
# To run it as another user, mount a volume that this user may write to.
COPY --from=build --chown=65532:65532 /data /var/lib/hubcap
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/opt/hubcap/.cache \
    HUBCAP_STORAGE_ROOT=/var/lib/hubcap
WORKDIR /opt/hubcap
USER 65532:65532
VOLUME /var/lib/hubcap
EXPOSE 5000 5001
# Uses the environment, not the file: if the file sets status.listen, set HUBCAP_STATUS_LISTEN as well, or another check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["node", "-e", "const port = /\\d+$/.exec(process.env.HUBCAP_STATUS_LISTEN ?? '5001')[0]; fetch(`http://127.0.0.1:${port}/livez`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["hubcap"]
CMD ["serve", "--config", "/etc/hubcap/hubcap.yaml"]
