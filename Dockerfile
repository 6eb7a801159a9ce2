# syntax=docker/dockerfile:1
# Builds Baton and makes a small image of it. For GPU nodes give a CUDA base:
#   docker build --build-arg BASE=nvidia/cuda:12.4.1-runtime-ubuntu22.04 ... (any Debian or Ubuntu with the packages below)
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY scripts/setup.sh scripts/setup.sh
RUN bash -ec '. scripts/setup.sh; install_packages "${baton_packages[@]}"'
COPY . .
RUN bash -ec '. scripts/setup.sh; build_baton -DBATON_TESTS=OFF'

FROM ${BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends \
      libucx0 libpcre2-8-0 libicu72 libssl3 libprometheus-cpp-core1.0 libtomlplusplus3 libc-ares2 curl ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home baton
COPY --from=build /src/build/baton /usr/bin/baton
COPY --from=build /src/models/demo /usr/share/baton/models/demo
COPY --from=build /src/LICENSE /src/README.md /usr/share/doc/baton/
USER baton
EXPOSE 8000 7000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD curl -sf http://127.0.0.1:8000/health/ready || curl -sfk https://127.0.0.1:8000/health/ready || exit 1
# In a container the network is the container's own, so the ports bind to all of it; keep 7000 inside the cluster's network.
ENTRYPOINT ["/usr/bin/baton"]
CMD ["serve", "--host", "0.0.0.0", "--insecure"]
