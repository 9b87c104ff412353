# Debian 13, which gets security updates until 2030. The service needs nothing of Debian but glibc, which the Node of the image
# is built for.
FROM node:24-trixie-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# What packages do after their installation is not needed. esbuild comes as an optional package for each platform.
RUN npm ci --ignore-scripts
COPY . .
# The service imports none of the packages below packages/; `headway/worker` and the like, which do, are not for containers.
RUN node scripts/build.js --if-stale && \
    npm prune --omit=dev --omit=optional --ignore-scripts && \
    rm -rf node_modules/@headway && npm cache clean --force

FROM node:24-trixie-slim
LABEL org.opencontainers.image.title="Headway" \
      org.opencontainers.image.description="Progress, liveness, ETA and cancellation for long-running jobs" \
      org.opencontainers.image.licenses="MIT"
# HOST: loopback of a container is reached by nobody. Beyond it the service wants tokens or AUTH_MODE, which is left to whoever runs it.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000
WORKDIR /app
COPY --from=build /app/package.json /app/LICENSE /app/openapi.yaml ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/drizzle drizzle
COPY --from=build /app/dist dist
RUN ln -s /app/dist/cli/main.js /usr/local/bin/headway
USER node
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=40s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/healthz').then(answer => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Without a shell or npm in between, signals reach the service.
CMD ["node", "--enable-source-maps", "dist/main.js"]
