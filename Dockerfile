# Safelight without its stand-ins; docs/deploy.md says how to run it. One image for every process: the command says which.
FROM docker.io/library/rust:1.95-slim-trixie AS build
# aws-lc, TLS's arithmetic, is built from C.
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# Queries are checked against .sqlx: no database is needed here.
ENV SQLX_OFFLINE=true
RUN cargo build --locked --release --no-default-features --bin safelight

FROM docker.io/library/debian:trixie-slim
# Providers and Postgres are believed by the system's certificates.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /build/target/release/safelight /usr/local/bin/safelight
COPY --from=build /build/models /usr/local/share/safelight/models
ENV SAFELIGHT_MODELS=/usr/local/share/safelight/models SAFELIGHT_LISTEN=0.0.0.0:8080
# No account of the system: nothing in the image is theirs to write.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["safelight"]
CMD ["api"]
