# docker build -t gatehouse .
# docker run -d --name gatehouse -p 443:443 -p 80:80 -v gatehouse:/data gatehouse
#
# Everything it keeps is in /data: gatehouse.yaml, keys, certificates, the admin socket. A fresh named volume begins with
# config/container.yaml; a bind mount needs a gatehouse.yaml of its own and must belong to user 1000. The root file
# system may be read-only (--read-only --tmpfs /tmp). With --network host, where Docker does not open ports below 1024 to
# plain users, listen above them or lower net.ipv4.ip_unprivileged_port_start on the host.

FROM docker.io/library/node:24-bookworm-slim AS build
WORKDIR /opt/gatehouse
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY scripts/emit.ts scripts/
COPY src src
RUN node scripts/emit.ts
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM docker.io/library/node:24-bookworm-slim
LABEL org.opencontainers.image.title="Gatehouse" \
      org.opencontainers.image.description="A TLS edge for homes and small sites" \
      org.opencontainers.image.licenses="MIT"
RUN command -v tini >/dev/null \
 || { apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
WORKDIR /opt/gatehouse
COPY --from=build /opt/gatehouse/package.json ./
COPY --from=build /opt/gatehouse/node_modules node_modules
COPY --from=build /opt/gatehouse/dist dist
COPY LICENSE ./
COPY config/container.yaml config/
RUN mkdir /data && cp config/container.yaml /data/gatehouse.yaml && chown -R 1000:1000 /data && chmod 700 /data
ENV NODE_ENV=production GATEHOUSE_CONFIG=/data/gatehouse.yaml
USER 1000:1000
VOLUME /data
EXPOSE 80 443
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "node", "--disable-warning=DEP0060", "--initial-old-space-size=64", "--max-semi-space-size=8", "/opt/gatehouse/dist/cli/main.js"]
CMD ["run"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["node", "--disable-warning=DEP0060", "/opt/gatehouse/dist/cli/main.js", "health"]
