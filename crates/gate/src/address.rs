//! Which addresses an upstream's name may lead to.
//!
//! Invariant: [`vet`] passes only what the IANA special-purpose registries call globally reachable (RFC 6890 and its
//! updates) and, where the route says `private`, the operator's own networks. Cloud metadata services and link-local
//! addresses never pass. An IPv4 address inside an IPv6 one is judged as itself. The gate's connector dials only what
//! was vetted; a NAT64 prefix of a network's own choice cannot be told from any other address and is not seen here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}")]
pub struct Forbidden {
    pub address: IpAddr,
    /// What the address is, with the document that says so.
    pub what: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Passes where a route says `private`.
    Private,
    Never,
}

/// Whether an upstream at this address may be dialled.
pub fn vet(address: IpAddr, allow_private: bool) -> Result<(), Forbidden> {
    let verdict = match address {
        IpAddr::V4(v4) => judge_v4(v4),
        IpAddr::V6(v6) => judge_v6(v6),
    };
    match verdict {
        None => Ok(()),
        Some((Class::Private, _)) if allow_private => Ok(()),
        Some((_, what)) => Err(Forbidden { address, what }),
    }
}

struct Block<A> {
    net: A,
    prefix: u32,
    class: Class,
    what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u32, class: Class, what: &'static str) -> Block<Ipv4Addr> {
    Block { net: Ipv4Addr::new(a, b, c, d), prefix, class, what }
}

const fn v6(net: [u16; 8], prefix: u32, class: Class, what: &'static str) -> Block<Ipv6Addr> {
    let [a, b, c, d, e, f, g, h] = net;
    Block { net: Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix, class, what }
}

use Class::{Never, Private};

/// The first block that holds an address decides, so exceptions stand before what they are taken from.
const V4: &[Block<Ipv4Addr>] = &[
    v4(100, 100, 100, 200, 32, Never, "a cloud metadata service (Alibaba Cloud)"),
    v4(168, 63, 129, 16, 32, Never, "a cloud metadata service (Azure wire server)"),
    v4(0, 0, 0, 0, 8, Never, "\"this network\" (RFC 791)"),
    v4(10, 0, 0, 0, 8, Private, "private (RFC 1918)"),
    v4(100, 64, 0, 0, 10, Private, "shared by a carrier's customers (RFC 6598)"),
    v4(127, 0, 0, 0, 8, Private, "loopback (RFC 1122)"),
    v4(169, 254, 0, 0, 16, Never, "link-local, and where clouds serve metadata (RFC 3927)"),
    v4(172, 16, 0, 0, 12, Private, "private (RFC 1918)"),
    // 192.0.0.9 and .10 are globally reachable anycast for port control; no upstream is served there.
    v4(192, 0, 0, 0, 24, Never, "for protocol assignments (RFC 6890)"),
    v4(192, 0, 2, 0, 24, Never, "for documentation (RFC 5737)"),
    v4(192, 88, 99, 0, 24, Never, "6to4 relay anycast (RFC 7526)"),
    v4(192, 168, 0, 0, 16, Private, "private (RFC 1918)"),
    v4(198, 18, 0, 0, 15, Never, "for benchmarks, and synthetic in a bottle (RFC 2544)"),
    v4(198, 51, 100, 0, 24, Never, "for documentation (RFC 5737)"),
    v4(203, 0, 113, 0, 24, Never, "for documentation (RFC 5737)"),
    v4(224, 0, 0, 0, 4, Never, "multicast (RFC 5771)"),
    v4(240, 0, 0, 0, 4, Never, "reserved or broadcast (RFC 1112, RFC 8190)"),
];

const V6: &[Block<Ipv6Addr>] = &[
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32, Never, "a cloud metadata service (Amazon EC2)"),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128, Never, "a cloud metadata service (Google Cloud)"),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128, Never, "a cloud metadata service (Oracle Cloud)"),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128, Never, "a cloud metadata service (Scaleway)"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Private, "loopback (RFC 4291)"),
    // The rest of ::/96 is the IPv4-compatible form, which RFC 4291 withdrew.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, Never, "unspecified or IPv4-compatible (RFC 4291)"),
    // Where the IPv4 address stands depends on the network's prefix length (RFC 6052), so it cannot be judged.
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Never, "NAT64 of local use (RFC 8215)"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Private, "unique local (RFC 4193)"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Never, "link-local (RFC 4291)"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Never, "multicast (RFC 4291)"),
    // Holds Teredo (2001::/32), benchmarks (2001:2::/48), ORCHID and anycast of no use to an upstream.
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Never, "for protocol assignments, Teredo among them (RFC 2928, RFC 4380)"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Never, "for documentation (RFC 3849)"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Never, "for documentation (RFC 9637)"),
];

const GLOBAL_UNICAST: Block<Ipv6Addr> =
    v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Never, "outside the global unicast addresses (RFC 4291)");

type Verdict = Option<(Class, &'static str)>;

fn judge_v4(address: Ipv4Addr) -> Verdict {
    let within = |block: &&Block<Ipv4Addr>| {
        let distance = u32::from(address) ^ u32::from(block.net);
        distance.leading_zeros() >= block.prefix
    };
    V4.iter().find(within).map(|block| (block.class, block.what))
}

fn judge_v6(address: Ipv6Addr) -> Verdict {
    match embedded(address) {
        // What embeds a forbidden address is forbidden; what embeds a good one must be good itself as well.
        Some(Embedded::Only(inner)) => judge_v4(inner),
        Some(Embedded::Also(inner)) => judge_v4(inner).or_else(|| judge_plain_v6(address)),
        None => judge_plain_v6(address),
    }
}

fn judge_plain_v6(address: Ipv6Addr) -> Verdict {
    match V6.iter().find(|block| within_v6(address, block)) {
        Some(block) => Some((block.class, block.what)),
        None if within_v6(address, &GLOBAL_UNICAST) => None,
        None => Some((Never, GLOBAL_UNICAST.what)),
    }
}

fn within_v6(address: Ipv6Addr, block: &Block<Ipv6Addr>) -> bool {
    (u128::from(address) ^ u128::from(block.net)).leading_zeros() >= block.prefix
}

enum Embedded {
    /// The IPv6 form is nothing but a way to reach this address.
    Only(Ipv4Addr),
    /// The IPv6 address is one in its own right that leads to this one through a tunnel.
    Also(Ipv4Addr),
}

fn embedded(address: Ipv6Addr) -> Option<Embedded> {
    let last = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // IPv4-mapped (RFC 4291) and IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, g, h] | [0, 0, 0, 0, 0xffff, 0, g, h] => Some(Embedded::Only(last(g, h))),
        // NAT64, well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, g, h] => Some(Embedded::Only(last(g, h))),
        // 6to4 (RFC 3056): everything below the prefix goes to the router at that IPv4 address.
        [0x2002, b, c, ..] => Some(Embedded::Also(last(b, c))),
        // ISATAP (RFC 5214): an interface identifier of 00-00-5E-FE, with or without the universal bit.
        [_, _, _, _, 0 | 0x200, 0x5efe, g, h] => Some(Embedded::Also(last(g, h))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(text: &str, allow_private: bool) -> bool {
        vet(text.parse().unwrap(), allow_private).is_ok()
    }

    #[test]
    fn public_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
            "2001:200::1",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2606:4700::5efe:101:101",
        ] {
            assert!(passes(text, false) && passes(text, true), "{text} was refused");
        }
    }

    #[test]
    fn the_operators_networks_pass_where_the_route_says_so() {
        for text in [
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "127.0.0.1",
            "127.255.255.254",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fc00::1",
            "fdff::1",
            "::ffff:127.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::192.168.1.1",
            "2002:7f00:1::",
            "2606:4700::200:5efe:a00:1",
        ] {
            assert!(!passes(text, false), "{text} passed");
            assert!(passes(text, true), "{text} was refused to a private route");
        }
    }

    #[test]
    fn what_no_route_can_allow() {
        for text in [
            // Metadata services.
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "192.0.0.192",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::168.63.129.16",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1::8.8.8.8",
            "2002:a9fe:a9fe::1",
            "2606:4700::5efe:a9fe:a9fe",
            "fd00::5efe:a9fe:a9fe",
            "fe80::a9fe:a9fe",
            // Special purpose.
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::127.0.0.1",
            "::8.8.8.8",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fec0::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
        ] {
            assert!(!passes(text, false) && !passes(text, true), "{text} passed");
        }
    }

    proptest! {
        #[test]
        fn a_wrapped_address_never_passes_where_the_plain_one_does_not(bits: u32, allow_private: bool) {
            let plain = Ipv4Addr::from(bits);
            let [a, b, c, d] = plain.octets();
            let high = u16::from_be_bytes([a, b]);
            let low = u16::from_be_bytes([c, d]);
            let wrapped = [
                plain.to_ipv6_mapped(),
                plain.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0x5efe, high, low),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !high, !low),
            ];
            if vet(plain.into(), allow_private).is_err() {
                for address in wrapped {
                    prop_assert!(vet(address.into(), allow_private).is_err(), "{address} hides {plain}");
                }
            }
        }

        #[test]
        fn allowing_private_addresses_never_forbids(bits: u128) {
            let address = Ipv6Addr::from(bits);
            prop_assert!(vet(address.into(), false).is_err() || vet(address.into(), true).is_ok());
        }

        #[test]
        fn only_global_unicast_and_known_embeddings_pass(bits: u128) {
            let address = Ipv6Addr::from(bits);
            if vet(address.into(), false).is_ok() {
                let [first, ..] = address.segments();
                prop_assert!(first >> 13 == 1 || first == 0 || first == 0x64, "{address}");
            }
        }
    }
}
