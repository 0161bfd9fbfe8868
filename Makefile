# Two commands: `make up` and `make test`. `make help` lists the rest.

TARGET   := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
KONTIKI  := $(TARGET)/release/kontiki
DATA_DIR ?= $(CURDIR)/.kontiki
IMAGES   := $(TARGET)/images
SUDO     := $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo))
# What Debian and Ubuntu call what we need: libclang reads the engine's C headers at build time; the rest is the node's.
PACKAGES := g++ make libclang-dev nftables iproute2 busybox-static util-linux
# Other people's clients, for the tests that let them loose on us; without them they say what they leave out. etcd itself is
# only unpacked: its package would start a service.
PEERS    := etcd-client python3-etcd3 protobuf-compiler libprotobuf-dev
UNPACKED := $(TARGET)/peers
export KONTIKI_PEERS := $(UNPACKED)/usr/bin

.PHONY: help up down status test build dist images deps peers

help: ## Show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

up: build images ## Install what is missing, build, start a cluster on this machine
	@$(SUDO) $(KONTIKI) up --data-dir $(DATA_DIR) --image $(IMAGES)/hello-1.tar --image $(IMAGES)/hello-2.tar
	@$(if $(SUDO),$(SUDO) chown -R $$(id -u) $(DATA_DIR)/kubeconfig && chmod 755 $(DATA_DIR),true)
	@command -v kubectl >/dev/null || echo "kubectl is not installed; any version from 1.30 on works with this cluster"

down: ## Stop that cluster and remove what it made on this machine
	@$(SUDO) $(KONTIKI) down --data-dir $(DATA_DIR)

status: ## Show that cluster
	@$(SUDO) $(KONTIKI) status --data-dir $(DATA_DIR)

test: deps peers ## Install what is missing and run every test
	@cargo xtask verify

build: deps ## Build the programs
	@echo "building (the first time compiles the storage engine: ten minutes or more on two cores)"
	@cargo build --release -p kontiki-cli

dist: deps ## Build the programs for other machines: smaller and faster, and longer in the making
	@echo "building (each change compiles long: for trying things out, take make build)"
	@cargo build --profile dist -p kontiki-cli -p kontiki-store-bin
	@ls -sh $(TARGET)/dist/kontiki $(TARGET)/dist/kontiki-store

images: build ## Assemble the example image in two versions
	@mkdir -p $(IMAGES)
	@for v in 1 2; do [ -f $(IMAGES)/hello-$$v.tar ] || \
		$(KONTIKI) image build-hello --name docker.io/library/kontiki-hello:$$v --version $$v $(IMAGES)/hello-$$v.tar; done

deps: ## Install missing packages (Debian, Ubuntu)
	@command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs"; exit 1; }
	@missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "please install:" $$missing; exit 1; }; \
		if [ "$$(id -u)" != 0 ] && [ -z "$(SUDO)" ]; then echo "please install as root: apt-get install" $$missing; exit 1; fi; \
		echo "installing" $$missing; $(SUDO) apt-get update -q && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	fi

peers:
	@missing=$$(for p in $(PEERS); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		echo "installing" $$missing "(for comparisons)"; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing >/dev/null 2>&1 || \
			echo "not installed:" $$missing "- the tests that need it are left out"; \
	fi
	@command -v etcd >/dev/null || [ -x $(KONTIKI_PEERS)/etcd ] || { \
		echo "unpacking etcd-server (for comparisons)"; mkdir -p $(UNPACKED) && cd $(UNPACKED) && \
		apt-get download -q etcd-server >/dev/null 2>&1 && dpkg-deb -x etcd-server_*.deb . && rm -f etcd-server_*.deb || \
			echo "not unpacked: etcd-server - the tests that compare with it are left out"; \
	}
