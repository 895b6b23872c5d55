# Ampoule: `make` alone lists what there is to make.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# A module that go.mod or go.sum does not name is an error, here and in every tool. Without paths
# in what is compiled, a clone in another directory takes what this one has compiled and tested.
export GOFLAGS := $(shell go env GOFLAGS) -mod=readonly -trimpath

# One static program: it is copied to machines that have nothing else (docs/audit.md).
export CGO_ENABLED := 0

GOLANGCI_VERSION := v2.5.0
GOVULNCHECK_VERSION := v1.9.0
TOOLS := $(CURDIR)/.tools
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
CONFORMANCE_VERSION := v0.0.0-20260831232431-97274622c111
CONFORMANCE := $(TOOLS)/conformance-$(CONFORMANCE_VERSION)
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)
VEGETA_VERSION := v12.12.0
VEGETA := $(TOOLS)/vegeta-$(VEGETA_VERSION)

# What one package's tests may take: the race detector makes them several times slower, and
# a compilation of CPython takes minutes on two cores.
TEST_TIMEOUT := 20m
DOCKER_TEST_TIMEOUT := 60m

# What ships, what measures it, and what looks at its pages in a browser.
MODULES := . bench browser

.PHONY: help setup build measure page quickstart test test-fast test-postgres test-docker browser alerts check format vet lint vuln metadata thirdparty rooms catalogue packages overrides releases loop bench load growth soak kills powerloss services clients suite peers checks verdicts conformance pushes fuzz seeds mutate size clean cross

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Installs what is missing on a Debian-like machine and starts Docker
	@.ci/setup

build: ## Compiles bin/ampoule
	go build -ldflags "-X ampoule/cmd/ampoule/cli.stamped=$$(.ci/version)" -o bin/ampoule ./cmd/ampoule

quickstart: setup build ## Does the main job: from a recipe to a digest that runs
	@.ci/quickstart

test: setup ## Does all set-up and runs all checks and tests, the fastest first
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory vuln
	@$(MAKE) --no-print-directory metadata
	@$(MAKE) --no-print-directory thirdparty
	@$(MAKE) --no-print-directory alerts
	@$(MAKE) --no-print-directory test-fast
	@$(MAKE) --no-print-directory browser
	@$(MAKE) --no-print-directory test-postgres
	@$(MAKE) --no-print-directory test-docker

# The embedded registry's library sets a flag of a repository while other requests read it
# (docs/decisions/0058-habits.md): where it serves, the race detector finds that and nothing else.
RACY := ampoule/contents ampoule/registry/cache ampoule/registry/channel ampoule/cmd/ampoule/cli ampoule/registry ampoule/registry/embedded ampoule/registry/install ampoule/registry/server ampoule/service/web/sources ampoule/wiring

# Tests that the race detector would multiply, and that it has nothing to find in: they measure memory, or
# read as much as a limit allows.
WEIGHED_FILES := $(shell git grep -l '^//go:build !race' -- '*_test.go')
WEIGHED := $(addprefix ./,$(sort $(dir $(WEIGHED_FILES))))
WEIGHED_TESTS = $$(grep -ohE '^func Test[A-Za-z0-9_]+' $(WEIGHED_FILES) | cut -c6- | paste -sd '|')

# LZMA computes, and orders no goroutines: nothing in it is locked, and nothing atomic. What does either may not
# be here, as SQLite's C in Go: what its atomic variables order, the detector would not know of, and would
# see races where there are none.
UNWATCHED := '-gcflags=github.com/ulikunitz/xz/lzma=-race=false'

# The race detector needs cgo; what ships is built without.
test-fast: export CGO_ENABLED := 1
test-fast: ## Runs the tests that need no Docker, with the race detector
	go test -race $(UNWATCHED) -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -vxE "$$(echo $(RACY) | tr ' ' '|')")
	# Without cgo, as they are linted and built: nothing is compiled a third time for them.
	CGO_ENABLED=0 go test -timeout $(TEST_TIMEOUT) $(RACY)
	CGO_ENABLED=0 go test -timeout $(TEST_TIMEOUT) -run "^($(WEIGHED_TESTS))\$$" $(WEIGHED)
	# They start themselves hundreds of times, as the programs that they drive: with the detector
	# that takes four times as long. Some read what is beside their module, where go's cache of
	# results does not look.
	CGO_ENABLED=0 go test -C bench -count=1 -timeout $(TEST_TIMEOUT) ./...

# The packages that have tests with PostgreSQL; without one they fail.
POSTGRES = $(sort $(dir $(shell git grep -l '^//go:build.*postgres' -- '*_test.go')))

test-postgres: ## Runs the tests that need PostgreSQL: they start servers of their own
	go test -count=1 -tags postgres -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(addprefix ./,$(POSTGRES))

# The packages that have tests with Docker: the tests of all others have run before.
DOCKERED = $(sort $(dir $(shell git -C $(1) grep -l '^//go:build.*docker' -- '*_test.go')))

# The longest of them: it begins first, and the others run beside it.
LONGEST := cmd/ampoule/endtoend/

# More flags of go test: with -v, the longest tells at its end what each of its tests took.
TEST_FLAGS :=

# What a test asks of an engine or a mirror is nothing that go's cache of results knows of.
test-docker: ## Runs the tests that need Docker, and the others of their packages: make test-docker [TEST_FLAGS=-v]
	go test -count=1 -tags docker -timeout $(DOCKER_TEST_TIMEOUT) $(TEST_FLAGS) $(addprefix ./,$(LONGEST) $(filter-out bench/% $(LONGEST),$(call DOCKERED,.)))
	go test -C bench -count=1 -tags docker -timeout $(DOCKER_TEST_TIMEOUT) $(TEST_FLAGS) $(addprefix ./,$(call DOCKERED,bench))

# What runs in pages is of npm, by its lock: hashes, and no registry's name.
browser/node_modules: browser/package-lock.json
	npm --prefix browser ci
	@touch $@

# Tests' pictures are kept with PICTURES=docs/pictures.
PICTURES :=

browser: browser/node_modules ## Tests the pages in Chromium: make browser [PICTURES=docs/pictures]
	go test -C browser -count=1 -timeout 15m . $(if $(PICTURES),-args -pictures $(abspath $(PICTURES)))

alerts: ## Checks the alert rules and units, and runs the rules' tests
	promtool check rules operations/alerts.yaml
	promtool test rules operations/alerts_test.yaml
	.ci/units

check: format vet rooms lint ## Checks form, imports and the linter's rules

format: ## Fails if a file is not as gofmt writes it
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	[ -z "$$unformatted" ] || { echo "not as gofmt writes them:"; echo "$$unformatted"; exit 1; }

# No file is left out with the tags: they are all that there is.
vet: ## Runs go vet, the tests that need Docker or PostgreSQL among all others
	for module in $(MODULES); do go vet -C $$module -tags docker,postgres ./... || exit; done

# People have laptops: what services do works there, too (docs/service.md). TestLaptops looks for faults of
# types alone: it takes a tenth of the time.
LAPTOPS := darwin/arm64 darwin/amd64 windows/amd64

cross: $(LAPTOPS:%=bin/%/) ## Compiles the program for macOS and Windows

bin/%/: FORCE
	GOOS=$(*D) GOARCH=$(*F) go build -trimpath -ldflags "-X ampoule/cmd/ampoule/cli.stamped=$$(.ci/version)" -o $@ ./cmd/ampoule

FORCE:

rooms: ## Checks which package imports which
	go test -count=1 -run '^TestRooms' ./cmd/ampoule
	go test -C bench -count=1 -run '^TestRooms' ./measure

lint: $(GOLANGCI) ## Runs golangci-lint
	for module in $(MODULES); do (cd $$module && $(GOLANGCI) run ./...) || exit; done

$(GOLANGCI):
	GOBIN=$(TOOLS)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(TOOLS)/bin/golangci-lint $@

metadata: ## Validates what CI systems read of this project
	.ci/metadata

thirdparty: ## Checks that third_party has what was published, its patches and nothing else
	third_party/update
	git diff --exit-code third_party

vuln: $(GOVULNCHECK) ## Looks for known vulnerabilities that the code can reach
	.ci/vuln $(GOVULNCHECK) $(MODULES)

$(GOVULNCHECK):
	GOBIN=$(TOOLS)/bin go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv $(TOOLS)/bin/govulncheck $@

measure: build
	go build -C bench -o ../bin/measure ./measure

page: measure ## Writes docs/catalogue.md from docs/measured
	bin/measure table

# Flags of bin/measure, such as --again or --store DIR.
MEASURE_FLAGS :=
# The results that make has to measure: of the catalogue and of the packages.
NAMES :=

# Names behind the target are recipes: `make catalogue web rust`. One that is a target
# too would be made as such: `make catalogue NAMES=quickstart`.
ifeq (catalogue,$(firstword $(MAKECMDGOALS)))
named := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
named_well := $(filter-out quickstart,$(notdir $(patsubst %/,%,$(wildcard recipes/catalogue/*/))))
ifneq (,$(filter-out $(named_well),$(named)))
$(error write make catalogue NAMES="$(named)": names behind the target are of $(named_well))
endif
override NAMES += $(named)
.PHONY: $(named)
$(named): catalogue
	@:
endif

catalogue: setup measure ## Builds the catalogue's recipes and records it: make catalogue [NAME...]
	bin/measure catalogue $(MEASURE_FLAGS) $(NAMES)

packages: setup measure ## Builds what people install most and records it: make packages [NAMES="..."]
	bin/measure packages $(MEASURE_FLAGS) $(NAMES)

overrides: setup measure ## Builds what else an override ships for and records it: make overrides [NAMES="..."]
	bin/measure overrides $(MEASURE_FLAGS) $(NAMES)

releases: setup measure ## Compares overrides with what the last releases declare: make releases [NAMES="..."]
	bin/measure releases $(MEASURE_FLAGS) $(NAMES)

# What is killed is built in copies of this store.
KILLS_STORE := $(HOME)/.cache/ampoule-kills

# How often a process is killed in each deed of a channel, of a host and of an agent.
DEED_KILLS := 200

kills: setup measure ## Kills builds, channels, hosts and agents at any moment, and records what came of it
	bin/measure kills --store $(KILLS_STORE) $(MEASURE_FLAGS)
	go test -count=1 -timeout 2h -run '^TestPromotionKilled$$' ./registry/channel -args -kills $(DEED_KILLS) -record $(CURDIR)/docs/measured/killed.json
	go test -count=1 -timeout 2h -run '^TestHostKilled$$' ./registry/install -args -kills $(DEED_KILLS) -record $(CURDIR)/docs/measured/killed.json
	go test -count=1 -timeout 2h -run '^TestAgentKilled$$' ./cmd/ampoule/cli -args -kills $(DEED_KILLS) -record-kills $(CURDIR)/docs/measured/killed.json
	bin/measure table

# How often the power goes in each deed.
LOSSES := 200

powerloss: setup measure ## Loses the power at moments of what writes to registries and hosts, and records what came of it
	go test -count=1 -timeout 2h -run '^TestPowerLoss$$' ./registry -args -losses $(LOSSES) -record $(CURDIR)/docs/measured/powerloss.json
	go test -count=1 -timeout 2h -run '^TestPromotionAndPowerLoss$$' ./registry/channel -args -losses $(LOSSES) -record $(CURDIR)/docs/measured/powerloss.json
	go test -count=1 -timeout 2h -run '^TestExportAndPowerLoss$$' ./cmd/ampoule/cli -args -losses $(LOSSES)
	go test -count=1 -timeout 2h -run '^TestHostPowerLoss$$' ./registry/install -args -losses $(LOSSES) -record $(CURDIR)/docs/measured/powerloss.json
	bin/measure table

# Services are built in a store of their own, which has no interpreter at first.
SERVICES_STORE := $(HOME)/.cache/ampoule-services

services: setup measure ## Changes what ten services share, builds all and records it
	bin/measure services --store $(SERVICES_STORE) $(MEASURE_FLAGS)

# The store of the interpreters that CPython's own tests run on.
SUITE_STORE := $(HOME)/.cache/ampoule-suite

suite: setup measure ## Runs CPython's own tests over artifacts and over raw builds: make suite [MODES="static..."]
	bin/measure suite --store $(SUITE_STORE) $(MEASURE_FLAGS) $(MODES)

# Optimised interpreters are compiled in the same store. The whole set takes half a day: it goes on
# where it stopped.
peers: setup measure ## Compares interpreters with Debian's by pyperformance: make peers [BENCHMARKS="starts 2to3..."]
	bin/measure peers --store $(SUITE_STORE) $(MEASURE_FLAGS) $(BENCHMARKS)

# The clients of others that Debian has not. crane belongs to a library that go.mod has.
CLIENTS := $(TOOLS)/clients
CRANE := $(CLIENTS)/crane-$(shell go list -m -f '{{.Version}}' github.com/google/go-containerregistry)
ORAS := $(CLIENTS)/oras-v1.3.6
COSIGN2 := $(CLIENTS)/cosign-v2.6.4
COSIGN3 := $(CLIENTS)/cosign-v3.1.2
$(ORAS): CLIENT := oras.land/oras/cmd/oras
$(COSIGN2): CLIENT := github.com/sigstore/cosign/v2/cmd/cosign
$(COSIGN3): CLIENT := github.com/sigstore/cosign/v3/cmd/cosign

$(CRANE):
	go build -o $@ github.com/google/go-containerregistry/cmd/crane

# Each is installed into a directory of its own: two have one name.
$(ORAS) $(COSIGN2) $(COSIGN3):
	GOBIN=$@.bin go install $(CLIENT)@$(lastword $(subst -, ,$(notdir $@)))
	@mv $@.bin/$(notdir $(CLIENT)) $@ && rmdir $@.bin

clients: setup measure $(CRANE) $(ORAS) $(COSIGN2) $(COSIGN3) ## Has programs of others read, copy and verify an artifact, and records it
	bin/measure clients --crane $(CRANE) --oras $(ORAS) --cosign2 $(COSIGN2) --cosign3 $(COSIGN3) $(MEASURE_FLAGS)

checks: setup measure ## Builds the catalogue's recipes twice and records whether the bits are the same
	bin/measure checks $(MEASURE_FLAGS) $(NAMES)

# Machines and what was seen in them stay in the user's cache: a second run, with
# MEASURE_FLAGS=--again, asks another program about them and installs nothing. Root only.
verdicts: setup measure ## Compares what audits say of environments with what works in them: make verdicts [NAMES="..."]
	bin/measure verdicts $(MEASURE_FLAGS) $(NAMES)

# The OCI project's own program, built of its module. It needs no Docker.
conformance: measure $(CONFORMANCE) ## Runs the OCI conformance program against a served registry and records it
	bin/measure conformance --program $(CONFORMANCE) --version $(CONFORMANCE_VERSION) $(MEASURE_FLAGS)

$(CONFORMANCE):
	GOBIN=$(TOOLS)/bin go install github.com/opencontainers/distribution-spec/conformance@$(CONFORMANCE_VERSION)
	@mv $(TOOLS)/bin/conformance $@

pushes: measure ## Times pushes into repositories of 1,000, 10,000 and 100,000 manifests and records it
	bin/measure registry $(MEASURE_FLAGS)

loop: setup measure ## Times what adding a requirement takes and records it
	bin/measure loop $(MEASURE_FLAGS)

bench: setup measure $(VEGETA) ## Runs the benchmarks, then web beside docker build and pip wheel, hosts beside tar, and the service under load, and records that
	go test -run '^$$' -bench . -benchmem ./...
	bin/measure bench $(MEASURE_FLAGS)
	bin/measure sdists --store $(SUITE_STORE) $(MEASURE_FLAGS)
	bin/measure hosts $(MEASURE_FLAGS)
	bin/measure audits $(MEASURE_FLAGS)
	@$(MAKE) --no-print-directory load

load: setup measure $(VEGETA) ## Loads the build service with vegeta, over SQLite and PostgreSQL, and records it
	bin/measure service --vegeta $(VEGETA) $(MEASURE_FLAGS)

$(VEGETA):
	GOBIN=$(TOOLS)/bin go install github.com/tsenart/vegeta/v12@$(VEGETA_VERSION)
	@mv $(TOOLS)/bin/vegeta $@

# How many builds are played through the queue: a day of a large installation.
GROWTH := 100000

growth: measure ## Plays a day's builds through the service's queue on PostgreSQL and records it; goes on where it stopped
	go test -count=1 -tags postgres -timeout 3h -v -run '^TestGrowth$$' ./service/queue -args -growth $(GROWTH) -record $(CURDIR)/docs/measured/growth.json -kept $(or $(TMPDIR),/tmp)/ampoule-growth
	bin/measure table

# How many rounds there shall be in the record, each of a minute or two; it goes on where it stopped.
SOAK := 12

soak: setup measure ## Kills and freezes processes of a service around real builds, and records each round
	go test -count=1 -tags docker -timeout 6h -v -run '^TestSoak$$' ./cmd/ampoule/endtoend -args -rounds $(SOAK) -record $(CURDIR)/docs/measured/soak.json
	bin/measure table

# How long each fuzzer runs, and those of which packages do: the ones that read what others made.
FUZZ_TIME := 10m
# All that have a fuzzer.
FUZZ_PACKAGES := $(addprefix ./,$(sort $(patsubst %/,%,$(dir $(shell git grep -l "^func Fuzz" -- "*_test.go" ":!bench")))))

fuzz: ## Runs fuzzers; go's cache keeps what they find: make fuzz [FUZZ_TIME=10m] [FUZZ_PACKAGES=./...]
	.ci/fuzz $(FUZZ_TIME) $(FUZZ_PACKAGES)

seeds: ## Chooses the fuzzers' seeds by what they reach, from go's cache and those that are there
	go run -C bench ./seeds -root $(CURDIR) $(FUZZ_PACKAGES)

# -every turns each condition of each check round, which takes half an hour.
MUTATE_FLAGS :=

mutate: ## Breaks each check of the gate and wants a test to fail: make mutate [MUTATE_FLAGS=-every]
	go test -tags mutation -count=1 -run TestMutations -timeout 3h -v ./audit -args $(MUTATE_FLAGS)

# Commits and directories whose sizes are printed, in columns.
SIZE_OF := .

size: ## Prints how large the code is: make size [SIZE_OF="COMMIT ."]
	go build -C bench -o ../bin/size ./size
	bin/size $(SIZE_OF)

clean: ## Removes what was built, but not the tools
	rm -rf bin
