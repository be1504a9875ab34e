// SPDX-License-Identifier: GPL-2.0

//! Differences between the kernels that Stor is built for (7.2 and 7.3), and nothing else. `shim.c` has the C side.
