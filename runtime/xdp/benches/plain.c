// What the XDP program does with a packet of a known flow, in plain C: to be measured beside it.
//
// IPv4 without options, TCP and UDP, GRE and NAT, over the very same maps (runtime/l4/src/value.rs).
// It makes the checks that a packet of a known flow goes through there, and no others: what is
// new, odd or broken is passed.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline

struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };

static void *(*lookup)(void *, const void *) = (void *)1;
static long (*redirect)(u32, u64) = (void *)23;
static long (*adjust_head)(struct xdp_md *, int) = (void *)44;
static u64 (*coarse_ns)(void) = (void *)160;

struct definition { u32 type, key_size, value_size, max_entries, flags, id, pinning; };
#define MAP(name, type, key, value, flags) \
	struct definition SEC("maps") name = {type, key, value, 1, flags, 0, 1}

struct address { u64 words[2]; };
struct link { u8 destination[6], source[6]; u32 interface; };
struct key { struct address source, destination; u16 source_port, destination_port; u8 protocol, zero[3]; };
struct flow {
	struct address source, destination;
	struct link link;
	u64 bytes;
	u16 source_port, destination_port, addresses_delta, transport_delta;
	u32 backend, seen, paired;
	u16 vip, vip_generation, backend_generation;
	u8 state, role, zero[4];
};
struct vip { u16 generation; u8 mode, encap; u32 ring; u16 mtu; u8 moves, zero; u32 timeouts[5]; };
struct backend { struct address address; struct link link; u16 port, generation; u8 state, zero[3]; };
struct pool { struct address address; u16 first, ports; u32 zero; };
struct settings { u64 hash[2]; struct pool pools[2]; struct address tunnels[2]; u32 sources, nat; };
struct counters { u64 packets, bytes, return_packets, return_bytes, causes[23]; };

MAP(SETTINGS, 2, 4, sizeof(struct settings), 0);
MAP(VIPS, 2, 4, sizeof(struct vip), 0);
MAP(BACKENDS, 2, 4, sizeof(struct backend), 0);
MAP(FLOWS_PROVEN, 9, sizeof(struct key), sizeof(struct flow), 2);
MAP(VIP_COUNTS, 6, 4, sizeof(struct counters), 0);
MAP(BACKEND_COUNTS, 6, 4, sizeof(struct counters), 0);

struct eth { u8 destination[6], source[6]; u16 type; } __attribute__((packed));
struct ip { u8 version, class; u16 length, id, fragment; u8 hops, protocol; u16 sum; u32 source, destination; } __attribute__((packed));
struct tcp { u16 source, destination; u32 sequence, acknowledged; u8 offset, flags; u16 window, sum, urgent; } __attribute__((packed));

enum { PASS = 2, GRE = 1, TUNNEL = 1, RETURN = 3, DRAINING = 2 };

INLINE u16 be(u16 number) { return __builtin_bswap16(number); }

INLINE u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

INLINE u64 sum_of(const struct ip *ip)
{
	const u16 *words = (const void *)ip;
	u64 sum = 0;
#pragma unroll
	for (int at = 0; at < 10; at++)
		sum += words[at];
	return sum;
}

INLINE struct address mapped(u32 address)
{
	struct address all = {{0, (u64)address << 32 | 0xffff0000}};
	return all;
}

INLINE void count(void *map, u32 index, u64 bytes, int back)
{
	struct counters *counters = lookup(map, &index);
	if (!counters)
		return;
	if (back) {
		counters->return_packets++;
		counters->return_bytes += bytes;
	} else {
		counters->packets++;
		counters->bytes += bytes;
	}
}

SEC("xdp") int plain(struct xdp_md *context)
{
	void *data = (void *)(u64)context->data, *end = (void *)(u64)context->data_end;
	struct eth *eth = data;
	struct ip *ip = data + 14;
	struct tcp *tcp = data + 34;
	u32 zero = 0;
	struct settings *settings = lookup(&SETTINGS, &zero);
	if (!settings || data + 54 > end || eth->destination[0] & 1 || eth->type != be(0x0800))
		return PASS;
	u16 length = be(ip->length);
	u64 bytes = end - data;
	if (ip->version != 0x45 || length < 40 || length > bytes - 14 || ip->fragment & be(0x3fff))
		return PASS;
	if (fold(sum_of(ip)) != 0xffff || (ip->protocol != 6 && ip->protocol != 17))
		return PASS;
	u8 flags = 0;
	if (ip->protocol == 6) {
		flags = tcp->flags;
		if (tcp->offset < 0x50 || 20 + (tcp->offset >> 4) * 4 > length)
			return PASS;
	}
	// A first packet, or the end of a flow.
	if (flags & 7 || settings->sources)
		return PASS;
	struct key key = {mapped(ip->source), mapped(ip->destination), tcp->source, tcp->destination, ip->protocol, {0}};
	struct flow *flow = lookup(&FLOWS_PROVEN, &key);
	if (!flow)
		return PASS;
	u32 number = flow->vip, index = flow->backend;
	struct vip *vip = lookup(&VIPS, &number);
	struct backend *backend = lookup(&BACKENDS, &index);
	if (!vip || !backend || vip->generation != flow->vip_generation)
		return PASS;
	if (backend->generation != flow->backend_generation || !backend->state || backend->state > DRAINING)
		return PASS;
	u32 now = coarse_ns() >> 20, idle = now - flow->seen;
	if (idle > vip->timeouts[ip->protocol == 6 ? 1 : 4] && idle < 0xfffffc00)
		return PASS;
	flow->seen = now;
	flow->bytes += bytes;
	// A checksum that the sender has left open.
	u64 pseudo = (u64)ip->source + ip->destination + be(ip->protocol) + be(length - 20);
	u16 *field = ip->protocol == 6 ? (u16 *)((void *)tcp + 16) : (u16 *)((void *)tcp + 6);
	if (*field == fold(pseudo))
		return PASS;
	u8 destination[6], source[6];
	const struct link *link = flow->role == RETURN ? &flow->link : &backend->link;
	u32 interface = link->interface;
	__builtin_memcpy(destination, interface ? link->destination : eth->source, 6);
	__builtin_memcpy(source, interface ? link->source : eth->destination, 6);
	if (!interface)
		interface = context->ingress_ifindex;
	if (flow->role == TUNNEL) {
		u8 class = ip->class;
		if (vip->encap != GRE || length + 24 > vip->mtu || adjust_head(context, -24))
			return PASS;
		data = (void *)(u64)context->data;
		end = (void *)(u64)context->data_end;
		if (data + 38 > end)
			return PASS;
		eth = data;
		ip = data + 14;
		u16 *gre = data + 34;
		ip->version = 0x45;
		ip->class = class;
		ip->length = be(length + 24);
		ip->id = 0;
		ip->fragment = be(0x4000);
		ip->hops = 64;
		ip->protocol = 47;
		ip->sum = 0;
		ip->source = settings->tunnels[0].words[1] >> 32;
		ip->destination = backend->address.words[1] >> 32;
		ip->sum = ~fold(sum_of(ip));
		gre[0] = 0;
		gre[1] = be(0x0800);
	} else {
		if (ip->hops <= 1)
			return PASS;
		u16 *hops = (u16 *)&ip->hops, before = *hops;
		ip->hops--;
		ip->sum = ~fold((u64)(u16)~ip->sum + (u16)~before + *hops + flow->addresses_delta);
		ip->source = flow->source.words[1] >> 32;
		ip->destination = flow->destination.words[1] >> 32;
		tcp->source = flow->source_port;
		tcp->destination = flow->destination_port;
		if (ip->protocol == 6 || *field)
			*field = ~fold((u64)(u16)~*field + flow->transport_delta);
	}
	__builtin_memcpy(eth->destination, destination, 6);
	__builtin_memcpy(eth->source, source, 6);
	eth->type = be(0x0800);
	count(&VIP_COUNTS, number, bytes, flow->role == RETURN);
	count(&BACKEND_COUNTS, index, bytes, flow->role == RETURN);
	return redirect(interface, 0);
}

SEC("xdp") int empty(struct xdp_md *context)
{
	return PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
