# Each target is a step of CI; `make demo` and `make test` are all that a new
# user needs. Everything is built from Go modules.

GO ?= go

.PHONY: build tools demo test test-short crash e2e chart manifests lint clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

build: ## build bin/hawser
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/hawser ./cmd/hawser

tools: ## build Kubernetes, the sidecars and the S3 server, once (about 9 minutes on 2 cores)
	$(GO) run ./e2e/tools/build kubernetes s3

demo: tools ## watch a StatefulSet being backed up, lost and brought back
	$(GO) run ./e2e/demo

test: tools ## run every test; our own code under the race detector
	$(GO) run ./e2e/tools/build helm promtool toxiproxy
	$(GO) test -race -timeout 60m -p 2 -parallel 3 ./...

test-short: ## run the tests that need no cluster and no built tools
	$(GO) test -race -short ./...

crash: tools ## kill backups at each of their requests, agents and migrations at random; SEED=N repeats one, RUNS=N kills
	$(GO) test -race -count=1 -v -timeout 120m -run '^(TestNoCrash|TestAgentsAreKilled|TestMigrationsAreKilled)' ./e2e \
		-args -crash.all -crash.seed=$(or $(SEED),0) -crash.runs=$(or $(RUNS),100) -migrate.kills=$(or $(RUNS),100)
	$(GO) test -count=1 -run '^TestAgents' ./backup -args -times=50

e2e: tools ## run Pods in containers and bring their data back; as root on Debian
	$(GO) run ./e2e/tools/build kubelet coredns
	$(GO) run ./e2e/seed/report

chart: ## have Helm look the chart over, with each of its example values
	$(GO) run ./e2e/tools/build helm
	@for values in deploy/chart/hawser/ci/*.yaml; do \
		e2e/tools/bin/helm lint --strict --quiet --values $$values deploy/chart/hawser || exit 1; \
	done

manifests: ## make deploy/manifests from the chart
	$(GO) run ./e2e/chart/write

lint: ## gofmt, go vet, staticcheck
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run ./e2e/tools/build lint
	e2e/tools/bin/staticcheck ./...

clean: ## remove what was built here
	rm -rf bin e2e/tools/bin e2e/logs
