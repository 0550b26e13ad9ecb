# `go test ./...` needs nothing of this. `make check` is everything else that has to hold before a change goes in.

GO ?= go
FUZZTIME ?= 5s

# Linters live in a module of their own, so that the product's go.mod names what the product needs.
TOOL = $(GO) tool -modfile=tools/go.mod

# Packages that compute without training anything; the race detector makes them some ten times slower.
PURE = tensor|checkpoint|graph|symmetry|assign|match|merge|zoo|model|landscape|internal/kernel|nn

# Packages with assembly below them, tested once more on the portable code.
PORTABLE = internal/kernel|nn|match

PLATFORMS = darwin/arm64 linux/arm64 windows/amd64

# Called with a pattern of directories, the packages there which exist.
packages = $$($(GO) list ./... | grep -E '^[^/]+/[^/]+/[^/]+/($(1))$$')

.PHONY: build test check lint fmt vulncheck race purego cross fuzz

build:
	CGO_ENABLED=0 $(GO) build ./...

test:
	$(GO) test ./...

# Everything is tried even where something failed, so that one run shows all there is to mend.
check:
	@failed=; \
	for target in lint vulncheck race purego cross fuzz; do \
		start=$$(date +%s); \
		$(MAKE) --no-print-directory $$target || failed="$$failed $$target"; \
		echo "== make $$target: $$(($$(date +%s) - start)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "make check: failed:$$failed"; exit 1; fi

lint:
	$(TOOL) golangci-lint run ./...

fmt:
	$(TOOL) golangci-lint fmt ./...

vulncheck:
	@GO="$(GO)" scripts/vulncheck.sh

race:
	CGO_ENABLED=1 $(GO) test -race $(call packages,$(PURE))

purego:
	$(GO) test -tags purego $(call packages,$(PORTABLE))

cross:
	@set -e; for platform in $(PLATFORMS); do \
		echo "go build for $$platform"; \
		CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/} $(GO) build ./...; \
	done

fuzz:
	@GO="$(GO)" scripts/fuzz.sh $(FUZZTIME)
