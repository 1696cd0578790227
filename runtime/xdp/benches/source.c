// Where frames come from that nobody has sent, and where they end at once.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))

struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };

static void *(*lookup)(void *, const void *) = (void *)1;
static long (*redirect)(u32, u64) = (void *)23;

struct definition { u32 type, key_size, value_size, max_entries, flags, id, pinning; };
struct template { u64 words[8]; u32 interface, port, flows, next; };
struct definition SEC("maps") TEMPLATE = {2, 4, sizeof(struct template), 1, 0, 0, 0};

struct definition SEC("maps") COUNT = {2, 4, sizeof(u64), 1, 0, 0, 0};

enum { DROP = 1 };

// The template out of its interface, with one port after the other. Flows are a power of two.
SEC("xdp") int source(struct xdp_md *context)
{
	void *data = (void *)(u64)context->data, *end = (void *)(u64)context->data_end;
	u32 zero = 0;
	struct template *template = lookup(&TEMPLATE, &zero);
	if (!template || data + 64 > end)
		return DROP;
	u64 *to = data;
#pragma unroll
	for (int at = 0; at < 8; at++)
		to[at] = template->words[at];
	u16 port = template->port + (template->next++ & (template->flows - 1));
	*(u16 *)(data + 34) = __builtin_bswap16(port);
	return redirect(template->interface, 0);
}

// One processor does all of it, so plain counting will do.
SEC("xdp") int sink(struct xdp_md *context)
{
	u32 zero = 0;
	u64 *count = lookup(&COUNT, &zero);
	if (count)
		++*count;
	return DROP;
}

char LICENSE[] SEC("license") = "Apache-2.0";
