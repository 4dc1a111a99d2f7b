# SPDX-License-Identifier: GPL-2.0-or-later
# Devices of the QEMU with the address sanitizer: the two machines, VMBus, and
# what the tests put into them.  Every other device would cost time to build.
CONFIG_I440FX=y
CONFIG_Q35=y
CONFIG_HYPERV=y
CONFIG_HYPERV_TESTDEV=y
CONFIG_HV_VMBUS=y
CONFIG_HPET=y
CONFIG_ISA_DEBUG=y
CONFIG_TEST_DEVICES=y
CONFIG_VMPORT=y
