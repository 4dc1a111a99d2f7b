/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "fake-machine.h"

static Fake *fake_of(void *opaque)
{
    return opaque;
}

static unsigned index_of(Fake *fake, HvVp *vp)
{
    return (unsigned)(vp - fake->vps);
}

static uint64_t read_tsc(void *opaque)
{
    return fake_of(opaque)->now * FAKE_TSC_PER_UNIT;
}

static uint64_t read_ns(void *opaque)
{
    return fake_of(opaque)->now * 100;
}

static void clock_samples(void *opaque, HvClockSample *first,
                          HvClockSample *last)
{
    Fake *fake = fake_of(opaque);

    fake->samples++;
    first->tsc = first->ns = 0;
    last->ns = 1000000000;
    last->tsc =
        fake->tsc_too_slow ? HV_CLOCK_HZ / 2 : HV_CLOCK_HZ * FAKE_TSC_PER_UNIT;
}

static bool read_guest(void *opaque, uint64_t gpa, void *buf, uint32_t len)
{
    Fake *fake = fake_of(opaque);

    fake->reads++;
    if (gpa > FAKE_MEMORY || len > FAKE_MEMORY - gpa) {
        return false;
    }
    memcpy(buf, fake->memory + gpa, len);
    return true;
}

static bool write_guest(void *opaque, uint64_t gpa, const void *buf,
                        uint32_t len)
{
    Fake *fake = fake_of(opaque);
    FakeWrite write = {gpa, len};

    if (gpa > FAKE_MEMORY || len > FAKE_MEMORY - gpa) {
        return false;
    }
    g_array_append_val(fake->writes, write);
    memcpy(fake->memory + gpa, buf, len);
    return true;
}

static void set_deadline(void *opaque, HvVp *vp, unsigned timer,
                         uint64_t deadline)
{
    Fake *fake = fake_of(opaque);

    fake->wishes++;
    fake->deadlines[index_of(fake, vp)][timer] = deadline;
}

static bool assert_vector(void *opaque, HvVp *vp, uint8_t vector)
{
    Fake *fake = fake_of(opaque);

    fake->vectors[index_of(fake, vp)][vector]++;
    fake->vectors_total++;
    return !fake->apic_disabled;
}

static int post_message(void *opaque, HvVp *vp, unsigned sint,
                        const HvMessage *msg)
{
    Fake *fake = fake_of(opaque);

    fake->posts++;
    fake->post_sint = sint;
    if (!fake->post_status) {
        fake->message = *msg;
    }
    return fake->post_status;
}

static void slot_free(void *opaque, HvVp *vp)
{
    fake_of(opaque)->slots_freed++;
}

static void synic_changed(void *opaque, HvVp *vp)
{
    fake_of(opaque)->synic_changes++;
}

static bool apic_read(void *opaque, HvVp *vp, HvApicRegister reg,
                      uint64_t *value)
{
    *value = fake_of(opaque)->apic[reg];
    return !fake_of(opaque)->apic_refuses;
}

static bool apic_write(void *opaque, HvVp *vp, HvApicRegister reg,
                       uint64_t value)
{
    fake_of(opaque)->apic[reg] = value;
    return !fake_of(opaque)->apic_refuses;
}

static uint64_t vp_runtime(void *opaque, HvVp *vp)
{
    return fake_of(opaque)->now / 2;
}

static void guest_crashed(void *opaque, HvVp *vp,
                          const uint64_t params[HV_ABI_CRASH_PARAMS])
{
    Fake *fake = fake_of(opaque);

    fake->crashes++;
    memcpy(fake->crash, params, sizeof(fake->crash));
}

static void reset_system(void *opaque, HvVp *vp)
{
    fake_of(opaque)->resets++;
}

static uint16_t hypercall_post(void *opaque, HvVp *vp,
                               const HvPostMessageInput *in)
{
    Fake *fake = fake_of(opaque);

    fake->hypercall_posts++;
    fake->post_input = *in;
    return fake->hypercall_status;
}

static uint16_t hypercall_signal(void *opaque, HvVp *vp, uint32_t connection,
                                 uint16_t flag)
{
    Fake *fake = fake_of(opaque);

    fake->hypercall_signals++;
    fake->signal_connection = connection;
    fake->signal_flag = flag;
    return fake->hypercall_status;
}

static void flush_tlb(void *opaque, HvVp *vp, const HvVpSet *set,
                      const uint64_t *ranges, unsigned count)
{
    Fake *fake = fake_of(opaque);

    fake->flushes++;
    fake->set = *set;
    fake->range_count = count;
    g_assert_cmpuint(count, <=, G_N_ELEMENTS(fake->ranges));
    if (count) {
        memcpy(fake->ranges, ranges, count * sizeof(*ranges));
    }
}

static void send_ipi(void *opaque, HvVp *vp, const HvVpSet *set, uint8_t vector)
{
    Fake *fake = fake_of(opaque);

    fake->ipis++;
    fake->set = *set;
    fake->ipi_vector = vector;
}

static void spin_wait(void *opaque, HvVp *vp)
{
    fake_of(opaque)->spin_waits++;
}

static const HvOps fake_ops = {
    .read_tsc = read_tsc,
    .read_ns = read_ns,
    .clock_samples = clock_samples,
    .read_guest = read_guest,
    .write_guest = write_guest,
    .set_deadline = set_deadline,
    .assert_vector = assert_vector,
    .post_message = post_message,
    .slot_free = slot_free,
    .synic_changed = synic_changed,
    .apic_read = apic_read,
    .apic_write = apic_write,
    .vp_runtime = vp_runtime,
    .guest_crashed = guest_crashed,
    .reset_system = reset_system,
    .hypercall_post = hypercall_post,
    .hypercall_signal = hypercall_signal,
    .flush_tlb = flush_tlb,
    .send_ipi = send_ipi,
    .spin_wait = spin_wait,
};

Fake *fake_new(uint64_t features)
{
    static const uint8_t code[] = {0xe7, 0xe6, 0xc3};
    HvConfig config = {
        .features = features,
        .spinlocks = HV_SPINLOCKS_NEVER,
        .interface = {0x31237648},
    };
    Fake *fake = g_new0(Fake, 1);
    unsigned i;

    fake->writes = g_array_new(FALSE, FALSE, sizeof(FakeWrite));
    fake->now = 1000;
    hv_partition_init(&fake->partition, &config, &fake_ops, fake);
    fake->partition.apic_hz = 1000000000;
    memcpy(fake->partition.hypercall_code, code, sizeof(code));
    fake->partition.hypercall_code_len = sizeof(code);
    memset(fake->deadlines, 0xff, sizeof(fake->deadlines));
    for (i = 0; i < FAKE_VPS; i++) {
        hv_vp_init(&fake->vps[i], &fake->partition, i, NULL);
    }
    return fake;
}

void fake_free(Fake *fake)
{
    g_array_free(fake->writes, TRUE);
    g_free(fake);
}

static bool next_timer(Fake *fake, uint64_t now, unsigned *vp, unsigned *timer)
{
    uint64_t first = HV_TIME_NEVER;
    unsigned v, t;

    for (v = 0; v < FAKE_VPS; v++) {
        for (t = 0; t < HV_ABI_STIMERS; t++) {
            if (fake->deadlines[v][t] < first) {
                first = fake->deadlines[v][t];
                *vp = v;
                *timer = t;
            }
        }
    }
    return first <= now;
}

unsigned fake_advance(Fake *fake, uint64_t now)
{
    unsigned vp = 0, timer = 0, calls = 0;

    while (next_timer(fake, now, &vp, &timer)) {
        uint64_t deadline = fake->deadlines[vp][timer];

        fake->now = MAX(fake->now, deadline);
        fake->deadlines[vp][timer] = HV_TIME_NEVER;
        hv_stimer_tick(&fake->vps[vp], timer);
        calls++;
    }
    fake->now = MAX(fake->now, now);
    return calls;
}

void fake_wrmsr(Fake *fake, uint32_t msr, uint64_t value)
{
    g_assert_true(hv_msr_write(&fake->vps[0], msr, value));
}

uint64_t fake_rdmsr(Fake *fake, uint32_t msr)
{
    uint64_t value = 0;

    g_assert_true(hv_msr_read(&fake->vps[0], msr, &value));
    return value;
}
