/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kvm/synic-pages.h"
#include "touch.h"

#include "kvm/synic-pages.c"
