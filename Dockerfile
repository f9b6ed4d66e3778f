# For those with a container engine; scripts/build-image.sh makes the same image without one.
# docker build -t ringbus . && docker run --security-opt seccomp=configs/seccomp-io-uring.json \
#   --ulimit memlock=-1 --ulimit nofile=1048576 -p 4222:4222 ringbus
FROM rust:1.95-slim AS build
RUN rustup target add "$(uname -m)-unknown-linux-musl" && apt-get update && apt-get install -y musl-tools
WORKDIR /src
COPY . .
RUN cargo build --release --package ringbus --target "$(uname -m)-unknown-linux-musl" \
    && cp "target/$(uname -m)-unknown-linux-musl/release/ringbus" /ringbus && strip /ringbus

FROM scratch
COPY --from=build /ringbus /usr/bin/ringbus
COPY configs/default.conf /etc/ringbus/ringbus.conf
USER 65532:65532
EXPOSE 4222 8222
ENTRYPOINT ["/usr/bin/ringbus"]
CMD ["-c", "/etc/ringbus/ringbus.conf"]
