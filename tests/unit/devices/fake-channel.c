/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake-channel.h"

static void bytes_free(gpointer data)
{
    g_bytes_unref(data);
}

void fake_init(VmbusChannel *chan, const VmbusChannelOps *ops, void *opaque)
{
    memset(chan, 0, sizeof(*chan));
    chan->ops = ops;
    chan->opaque = opaque;
    g_queue_init(&chan->unpublished);
    g_queue_init(&chan->to_guest);
    g_queue_init(&chan->to_host);
}

static void drop_packets(VmbusChannel *chan)
{
    g_queue_clear_full(&chan->unpublished, bytes_free);
    g_queue_clear_full(&chan->to_guest, bytes_free);
    g_queue_clear_full(&chan->to_host, bytes_free);
}

void fake_clear(VmbusChannel *chan)
{
    drop_packets(chan);
    g_clear_pointer(&chan->current, g_free);
}

void fake_open(VmbusChannel *chan)
{
    g_assert_false(chan->open);
    drop_packets(chan);
    chan->open = true;
    chan->opens++;
    g_assert_true(chan->ops->open(chan, chan->opaque));
}

void fake_close(VmbusChannel *chan)
{
    g_assert_true(chan->open);
    chan->closes++;
    chan->ops->close(chan, chan->opaque);
    chan->open = false;
    drop_packets(chan);
}

void fake_open_or_close(VmbusChannel *chan)
{
    if (chan->open) {
        fake_close(chan);
    } else {
        fake_open(chan);
    }
}

void fake_signal(VmbusChannel *chan)
{
    if (chan->open) {
        chan->ops->signal(chan, chan->opaque);
    }
}

static void move_queue(GQueue *to, GQueue *from)
{
    gpointer packet;

    while ((packet = g_queue_pop_head(from))) {
        g_queue_push_tail(to, packet);
    }
}

void fake_take_over(VmbusChannel *to, VmbusChannel *from)
{
    to->open = from->open;
    move_queue(&to->to_guest, &from->to_guest);
    move_queue(&to->to_host, &from->to_host);
}

VmbusRingResult vmbus_channel_receive(VmbusChannel *chan, VmbusPacket *pkt)
{
    GBytes *bytes;
    const uint8_t *data;
    size_t len;

    g_clear_pointer(&chan->current, g_free);
    if (!chan->open) {
        return VMBUS_RING_CLOSED;
    }
    if (chan->corrupt_on_receive) {
        chan->corrupt_on_receive = false;
        fake_close(chan);
        return VMBUS_RING_CORRUPT;
    }
    if (g_queue_is_empty(&chan->to_host) && chan->refill) {
        chan->refill(chan);
    }
    bytes = g_queue_pop_head(&chan->to_host);
    if (!bytes) {
        return VMBUS_RING_EMPTY;
    }
    data = g_bytes_get_data(bytes, &len);
    g_assert_cmpuint(len, >=, 2);
    len -= 2;
    /* An allocation of exactly the padded size: overreads are found. */
    chan->current = g_malloc0(MAX((len + 7) & ~(size_t)7, 1));
    memcpy(chan->current, data + 2, len);
    memset(pkt, 0, sizeof(*pkt));
    memcpy(&pkt->type, data, 2);
    pkt->data = chan->current;
    pkt->data_len = (len + 7) & ~(size_t)7;
    g_bytes_unref(bytes);
    return VMBUS_RING_OK;
}

VmbusRingResult vmbus_channel_send(VmbusChannel *chan, uint16_t type,
                                   uint16_t flags, uint64_t trans_id,
                                   const struct iovec *iov, int iovcnt)
{
    GByteArray *array;

    if (!chan->open) {
        return VMBUS_RING_CLOSED;
    }
    if (chan->send_result == VMBUS_RING_CORRUPT) {
        chan->send_result = VMBUS_RING_OK;
        fake_close(chan);
        return VMBUS_RING_CORRUPT;
    }
    if (chan->send_result != VMBUS_RING_OK) {
        return chan->send_result;
    }
    g_assert_cmpuint(type, ==, VMBUS_PKT_DATA_INBAND);
    g_assert_cmpuint(flags, ==, 0);
    g_assert_cmpuint(trans_id, ==, 0);
    array = g_byte_array_new();
    for (int i = 0; i < iovcnt; i++) {
        g_byte_array_append(array, iov[i].iov_base, iov[i].iov_len);
    }
    g_queue_push_tail(&chan->unpublished, g_byte_array_free_to_bytes(array));
    return VMBUS_RING_OK;
}

void vmbus_channel_flush(VmbusChannel *chan)
{
    GBytes *bytes;

    while ((bytes = g_queue_pop_head(&chan->unpublished))) {
        g_queue_push_tail(&chan->to_guest, bytes);
    }
}

bool vmbus_channel_is_open(const VmbusChannel *chan)
{
    return chan->open;
}

void *vmbus_channel_opaque(const VmbusChannel *chan)
{
    return chan->opaque;
}

GBytes *fake_pop(VmbusChannel *chan)
{
    return g_queue_pop_head(&chan->to_guest);
}

unsigned fake_pending(const VmbusChannel *chan)
{
    return chan->to_guest.length;
}

void fake_push(VmbusChannel *chan, uint16_t type, const void *data, size_t len)
{
    GByteArray *array = g_byte_array_new();

    g_byte_array_append(array, (const uint8_t *)&type, sizeof(type));
    g_byte_array_append(array, data, len);
    g_queue_push_tail(&chan->to_host, g_byte_array_free_to_bytes(array));
}

void fake_pop_message(VmbusChannel *chan, FakeMessage *msg)
{
    const uint8_t *data;
    size_t len;

    msg->bytes = fake_pop(chan);
    g_assert_nonnull(msg->bytes);
    data = g_bytes_get_data(msg->bytes, &len);
    g_assert_cmpuint(len, >=, sizeof(msg->pipe) + sizeof(msg->header));
    memcpy(&msg->pipe, data, sizeof(msg->pipe));
    memcpy(&msg->header, data + sizeof(msg->pipe), sizeof(msg->header));
    msg->body = data + sizeof(msg->pipe) + sizeof(msg->header);
    msg->body_len = len - sizeof(msg->pipe) - sizeof(msg->header);
    g_assert_cmpuint(GUINT32_FROM_LE(msg->pipe.type), ==, 1);
    g_assert_cmpuint(GUINT32_FROM_LE(msg->pipe.size), ==, len - 8);
    g_assert_cmpuint(GUINT16_FROM_LE(msg->header.message_size), ==,
                     msg->body_len);
    g_assert_cmpuint(msg->header.flags, ==, 3);
    g_assert_cmpuint(msg->header.status, ==, 0);
}

void fake_message_clear(FakeMessage *msg)
{
    g_clear_pointer(&msg->bytes, g_bytes_unref);
}

void fake_answer_with(VmbusChannel *chan, const IcHeader *header,
                      const void *body, size_t len)
{
    g_autoptr(GByteArray) array = g_byte_array_new();
    IcPipeHeader pipe = {
        .type = GUINT32_TO_LE(IC_PIPE_DATA),
        .size = GUINT32_TO_LE(sizeof(*header) + len),
    };

    g_byte_array_append(array, (const uint8_t *)&pipe, sizeof(pipe));
    g_byte_array_append(array, (const uint8_t *)header, sizeof(*header));
    g_byte_array_append(array, body, len);
    fake_push(chan, VMBUS_PKT_DATA_INBAND, array->data, array->len);
}

void fake_answer(VmbusChannel *chan, const FakeMessage *msg)
{
    IcHeader header = msg->header;

    header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    fake_answer_with(chan, &header, msg->body, msg->body_len);
}

void fake_negotiate(VmbusChannel *chan, uint32_t framework, uint32_t message)
{
    FakeMessage msg;
    g_autofree uint8_t *body = NULL;
    uint16_t words[] = {
        GUINT16_TO_LE(1),
        GUINT16_TO_LE(1),
        0,
        0,
        GUINT16_TO_LE(IC_VERSION_MAJOR(framework)),
        GUINT16_TO_LE(IC_VERSION_MINOR(framework)),
        GUINT16_TO_LE(IC_VERSION_MAJOR(message)),
        GUINT16_TO_LE(IC_VERSION_MINOR(message)),
    };

    fake_pop_message(chan, &msg);
    g_assert_cmpuint(msg.header.message_type, ==, IC_MESSAGE_NEGOTIATE);
    g_assert_cmpuint(msg.body_len, >=, sizeof(words));
    /* Linux: the packet keeps its length, the size field becomes 16. */
    body = g_memdup2(msg.body, msg.body_len);
    memcpy(body, words, sizeof(words));
    msg.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
    msg.header.message_size = GUINT16_TO_LE(sizeof(words));
    fake_answer_with(chan, &msg.header, body, msg.body_len);
    fake_message_clear(&msg);
    fake_signal(chan);
}

void fake_push_garbage(VmbusChannel *chan, GRand *rand)
{
    uint8_t data[160];
    size_t len = g_rand_int_range(rand, 0, sizeof(data));
    uint16_t type =
        g_rand_int_range(rand, 0, 8) ? VMBUS_PKT_DATA_INBAND : g_rand_int(rand);
    IcPipeHeader pipe = {GUINT32_TO_LE(IC_PIPE_DATA), 0};
    IcHeader header;

    for (size_t i = 0; i < sizeof(data); i++) {
        /* Small numbers hit ids, counts and versions more often. */
        data[i] = g_rand_int_range(rand, 0, g_rand_boolean(rand) ? 4 : 256);
    }
    if (len >= sizeof(pipe) && g_rand_int_range(rand, 0, 8)) {
        pipe.size = GUINT32_TO_LE(len - sizeof(pipe));
        memcpy(data, &pipe, sizeof(pipe));
    }
    if (len >= sizeof(pipe) + sizeof(header) && g_rand_int_range(rand, 0, 8)) {
        memcpy(&header, data + sizeof(pipe), sizeof(header));
        header.message_type = GUINT16_TO_LE(g_rand_int_range(rand, 0, 5));
        header.message_size =
            GUINT16_TO_LE(len - sizeof(pipe) - sizeof(header));
        header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
        if (g_rand_boolean(rand)) {
            header.status = 0;
        }
        memcpy(data + sizeof(pipe), &header, sizeof(header));
    }
    fake_push(chan, type, data, len);
}

void fake_send_garbage(VmbusChannel *chan, GRand *rand)
{
    fake_push_garbage(chan, rand);
    fake_signal(chan);
}
