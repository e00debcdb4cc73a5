# The image holds one static binary, with the time zones in it, and CA
# certificates; nothing else. `docker buildx build --platform linux/amd64,linux/arm64 .`
# makes it for both. Package e2e/image carries these steps out where no engine
# runs, and knows no other instructions than those here.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags='-s -w' -o /hawser ./cmd/hawser

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /hawser /hawser
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/hawser"]
