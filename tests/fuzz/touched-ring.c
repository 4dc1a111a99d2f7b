/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bus/ring.h"
#include "touch.h"

#include "bus/ring.c"
