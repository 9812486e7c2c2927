# The command in a small image; it runs on the CPU, or on a GPU whose driver the host lends (--device /dev/dri).
#
#   docker build -t ember .
#   docker run --rm -it -v ember:/data ember chat
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin ember

FROM debian:bookworm-slim
# Downloads are checked against the system's certificates where there are some; Mesa drives the GPUs of most machines.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libvulkan1 mesa-vulkan-drivers \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 ember \
    && install -d -o ember /data
COPY --from=build /src/target/release/ember /usr/local/bin/ember
USER ember
# Models, history and the journal outlive the container where this is a volume.
ENV EMBER_HOME=/data
VOLUME /data
ENTRYPOINT ["ember"]
CMD ["--help"]
