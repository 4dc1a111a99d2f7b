# SPDX-License-Identifier: GPL-2.0-or-later
# Devices of the QEMU that the fuzzer calls: one machine, and VMBus.
CONFIG_I440FX=y
CONFIG_HYPERV=y
CONFIG_HV_VMBUS=y
