# SPDX-License-Identifier: GPL-2.0
# Stor: the only front door. `make help` is made from the `##` lines below.
SHELL   := /bin/bash
KERNEL  ?= 7.3-amd64
export KERNEL

.DEFAULT_GOAL := help
.PHONY: help kernels builder kmod debug-kernel tools image image-check guest vm check unit bench demo test test-full clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  KERNEL=… names the kernel (default $(KERNEL)); 'make kernels' lists them, 'debug' is the debug kernel"

kernels: ## list the kernels that modules can be built for now
	@ci/kernels list

builder: ## make the builder image for KERNEL's toolchain
	@ci/builder make

kmod: ## build the modules for KERNEL into build/kmod/<release>/
	@ci/kmod build

debug-kernel: ## build the debug kernel (once, cached)
	@ci/kernels debug

tools: ## build storctl (release) into build/tools/
	@ci/tools build

image: ## make the driver image for KERNEL into build/image/
	@ci/image build

image-check: ## check that an image's modules match its labels
	@ci/image check

guest: ## make the guest root that the VM scenarios run in (cached)
	@tests/vm/run --guest-only

vm: ## run VM scenarios on KERNEL: make vm [ONLY=group/NNN]
	@tests/vm/run $(ONLY)

check: ## formatting, lints, layers, licences, shell, generated files
	@ci/check

unit: ## tests that need no root, no kernel and no network
	@ci/tools test

bench: ## instructions per I/O beside raw, dm-linear and dm-thin, and of thin metadata; metadata tools beside the thin-provisioning-tools
	@tests/perf/run
	@tests/perf/run --suite thin
	@tests/perf/run --suite replica
	@tests/perf/run --suite pauses
	@tests/perf/run --suite profile
	@tests/perf/thin-run
	@tests/perf/metadata

demo: ## the whole of Stor in one go, from nothing to a verified reboot
	@ci/demo

test: ## a sample of every suite; ends with 'N passed, N failed, N skipped'
	@ci/test

test-full: ## every suite at its full count
	@ci/test --full

clean: ## remove build/ (the cache stays)
	@rm -rf build
